# SPDX-License-Identifier: Apache-2.0
"""SSUFormer with sources kept apart: a mask and a sentence for each, beside the joined ones."""

from dataclasses import replace

import pytest
import torch

from avkit.collate import collate, crop
from avkit.datasets.scenes import Scenes
from avkit.heads.base import HeadInputs
from avkit.metrics.functional import pairing_accuracy
from avkit.systems.av_unified.system import AVUnifiedConfig
from avkit.systems.base import RunContext
from avkit.systems.ssuformer.config import SSUFormerConfig
from avkit.systems.ssuformer.head import SSUFormerHead, SSUFormerHeadOptions
from avkit.tasks import find_task
from avkit.training.module import AVModel

SCENES = Scenes("train", size=40, image_size=32)
TASK = find_task("ra_ssu")
FIELDS = frozenset((*TASK.targets, *TASK.optional)) & SCENES.provides
SMALL = {"width": 32, "mask_width": 16, "text_width": 32, "text_layers": 1, "queries": 4}
SMALL |= {"region": "pooled", "rcc": False, "mohe": False, "max_pieces": 12}


def system(**options):
    config = SSUFormerConfig(**(SMALL | options))
    vocabulary = config.extend_vocabulary(SCENES.vocabulary)
    torch.manual_seed(0)
    return config.build(RunContext(config.make_tasks(["ra_ssu"], vocabulary), vocabulary))


def items(count, steps=3):
    """Parts of clips in which two sources or more sound in view."""
    parts = []
    for index in range(len(SCENES)):
        item = SCENES.item(index, FIELDS)
        in_view = item.targets["source_mask"].flatten(2).any(2).sum(1)
        if in_view.shape and int(in_view.max()) > 1:
            start = min(int(in_view.argmax()), item.steps - steps)
            parts.append(crop(item, start, steps))
        if len(parts) == count:
            break
    return parts


@pytest.fixture(scope="module")
def batch():
    return collate(items(3), "ra_ssu")


@pytest.mark.parametrize(
    "options", [{}, {"region": "small_embedding", "rcc": True}, {"mcm_teacher": 1}, {"sources": 4}]
)
def test_the_loss_reaches_every_layer_of_sources(batch, options):
    net = system(**({"sources": 2} | options)).train()
    losses = net.loss(net(batch), batch)
    assert all(torch.isfinite(value) for value in losses.values())
    assert losses["sources"].item() > 0
    losses["loss"].backward()
    new = {name: p for name, p in net.named_parameters() if "slots" in name or "of_source" in name}
    assert len(new) > 10
    for name, parameter in new.items():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


def test_one_source_is_the_network_of_before(batch):
    one, two = system(), system(sources=2)
    assert not any("slots" in name or "of_source" in name for name, _ in one.named_parameters())
    weights = two.state_dict()
    for name, value in one.state_dict().items():
        assert torch.equal(value, weights[name]), name
    with torch.no_grad():
        first = one.eval().predict(one(batch), batch).values
        second = two.eval().predict(two(batch), batch).values
    assert torch.equal(first["mask"], second["mask"])
    assert first["caption"] == second["caption"]
    assert set(second) - set(first) == {"source_mask", "source_caption"}


def test_the_mask_is_the_union_and_sentences_stand_where_masks_are(batch):
    net = system(sources=3).eval()
    with torch.no_grad():
        prediction = net.predict(net(replace(batch, targets={})), replace(batch, targets={}))
    masks = prediction["source_mask"]
    assert masks.shape == (3, 3, 3, 32, 32)
    torch.testing.assert_close(masks.amax(2), prediction["mask"])
    present = net(batch)
    present = present.generated_sources.present.permute(1, 2, 0).tolist()
    for clip, of_steps in zip(present, prediction["source_caption"], strict=True):
        for flags, texts in zip(clip, of_steps, strict=True):
            assert len(texts) == 3
            assert all(flag or not text for flag, text in zip(flags, texts, strict=True))


def test_padding_changes_no_source():
    short, long = items(1, 2)[0], items(2, 4)[1]
    net = system(sources=2).eval()
    with torch.no_grad():
        alone = net.predict(net(collate([short], "ra_ssu")), collate([short], "ra_ssu")).values
        padded = net.predict(net(collate([short, long], "ra_ssu")), collate([short, long], "ra_ssu")).values
    torch.testing.assert_close(alone["source_mask"], padded["source_mask"][:1, :2], atol=1e-5, rtol=1e-5)
    assert alone["source_caption"][0] == padded["source_caption"][0][:2]


def test_captions_of_sources_that_did_not_change_are_repeated(batch):
    net = system(sources=2).eval()
    assert net.set_caption_change_threshold(1e9)
    with torch.no_grad():
        output = net(batch)
        captions = net.predict(output, batch)["source_caption"]
    sources = output.generated_sources
    assert int(sources.written.sum()) < int(sources.present.sum())
    for slot, clip, step in (sources.present & ~sources.written).nonzero().tolist():
        assert captions[clip][step][slot] == captions[clip][step - 1][slot]


def test_masks_alone_may_be_kept_apart(batch):
    net = system(sources=2, answers="masks", mcm=False).train()
    net.loss(net(batch), batch)["loss"].backward()
    with torch.no_grad():
        values = net.eval().predict(net(batch), batch).values
    assert set(values) == {"mask", "source_mask"}


def test_data_that_do_not_tell_sources_apart_can_be_answered_and_not_learned(batch):
    targets = {name: value for name, value in batch.targets.items() if not name.startswith("source")}
    joined = replace(batch, targets=targets)
    net = system(sources=2)
    with pytest.raises(ValueError, match="the data do not"):
        net.train()(joined)
    with torch.no_grad():
        assert "source_mask" in net.eval().predict(net(joined), joined).values


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": 0}, "system.sources is 0; give 1 to 4"),
        ({"sources": 5}, "system.sources is 5; give 1 to 4"),
        ({"sources": 2, "mcm": False}, "Set system.mcm to true, or sources to 1"),
        ({"sources": 2, "mcm": False, "answers": "captions"}, "system.answers 'captions' makes no masks"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SSUFormerConfig(**(SMALL | options))


def test_the_head_keeps_sources_apart_too(batch):
    net = AVModel(
        ["ra_ssu"], SCENES.vocabulary, AVUnifiedConfig(width=32), heads={"ra_ssu": {"name": "ssuformer", "sources": 2}}
    )
    losses = net.system.loss(net.system(batch), batch)
    assert losses["sources"].item() > 0
    with torch.no_grad():
        values = net.eval()(batch).values
    assert values["source_mask"].shape[2] == 2
    inputs = HeadInputs(32, SCENES.vocabulary, (16, 24))
    assert SSUFormerHead(inputs, SSUFormerHeadOptions(sources=3)).decoders.slots.begin.shape[0] == 3


@pytest.mark.slow
def test_the_right_sentence_is_learned_for_the_right_mask():
    net = system(sources=2, mcm_teacher=1, mask_width=32, text_width=64, width=64).train()
    given = collate(items(6, 2), "ra_ssu")
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        net.loss(net(given), given)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        values = net.eval().predict(net(given), given).values
    targets = given.targets
    scores = pairing_accuracy(
        values["source_mask"],
        values["source_caption"],
        targets["source_mask"],
        targets["source_caption"],
        targets["source_known"],
        form="probabilities",
    )
    assert scores["chance"] <= 0.5
    assert scores["accuracy"] > 0.8
