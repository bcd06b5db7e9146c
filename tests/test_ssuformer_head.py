# SPDX-License-Identifier: Apache-2.0
"""SSUFormer's decoders as a head on the shared backbone."""

from dataclasses import replace

import pytest
import torch

from avkit.batch import Vocabulary
from avkit.collate import collate, crop
from avkit.datasets.scenes import Scenes
from avkit.heads import create_head, find_head, list_heads
from avkit.heads.base import HeadInputs
from avkit.systems.ssuformer.head import SSUFormerHead, SSUFormerHeadOptions
from avkit.text.wordpiece import make_wordpieces
from avkit.training.module import AVModel

SCENES = Scenes("train", size=30, image_size=32)
FIELDS = frozenset({"mask", "mask_known", "caption"})
EXPERT = 6


def item(index=0, steps=2, expert=None):
    return replace(crop(SCENES.item(index, FIELDS), 3, steps), expert=expert)


def batch(count=3, steps=2, expert=False):
    torch.manual_seed(1)
    features = [torch.randn(steps, EXPERT) if expert and i != 1 else None for i in range(count)]
    return collate([item(i, steps, features[i]) for i in range(count)], "ra_ssu")


def model(expert=0, **options):
    torch.manual_seed(0)
    return AVModel("ra_ssu", SCENES.vocabulary, heads={"ra_ssu": {"name": "ssuformer", **options}}, expert=expert)


def losses_of(net, given):
    return net.system.loss(net.system(given), given)


def decoders(net):
    return net.system.head("ra_ssu").decoders


def test_the_head_is_chosen_by_name():
    assert "ssuformer" in list_heads("ra_ssu")
    assert find_head("ra_ssu", "ssuformer") is SSUFormerHead
    assert isinstance(model().system.head("ra_ssu"), SSUFormerHead)
    assert decoders(model(queries=5)).segmentation.decoder.query.shape[0] == 5
    with pytest.raises(ValueError, match="queries"):
        model(querys=5)


@pytest.mark.parametrize("expert", [0, EXPERT])
def test_every_parameter_is_trained_but_the_frozen_encoder(expert):
    net = model(expert).train()
    losses = losses_of(net, batch(expert=bool(expert)))
    assert all(torch.isfinite(value) for value in losses.values())
    assert {"loss", "mask", "words"} <= losses.keys()
    assert ("expert_share" in losses) == bool(expert)
    losses["loss"].backward()
    frozen = [name for name, parameter in net.named_parameters() if not parameter.requires_grad]
    assert all(".regions.encoder." in name for name in frozen)
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
    assert (decoders(net).description.router is None) == (not expert)


def test_a_few_steps_lower_the_loss():
    net, given = model().train(), batch()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    totals = []
    for _ in range(4):
        loss = losses_of(net, given)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(float(loss.detach()))
    assert totals[-1] < totals[0]


def test_prediction_reads_no_targets_and_padding_changes_nothing():
    net = model(EXPERT).eval()
    short, long = item(0, 2, torch.randn(2, EXPERT)), item(1, 4, torch.randn(4, EXPERT))
    with torch.no_grad():
        alone = net(collate([replace(short, targets={})], "ra_ssu"))
        both = net(collate([short, long], "ra_ssu"))
    torch.testing.assert_close(alone["mask"][0], both["mask"][0, :2], atol=1e-4, rtol=1e-4)
    assert alone["caption"][0] == both["caption"][0][:2]
    assert alone["mask"].shape == (1, 2, 32, 32)
    (note,) = net.system.notes("ra_ssu")
    assert "The expert's share" in note


def test_training_without_captions_generates_and_has_no_loss():
    net, given = model().train(), batch()
    with pytest.raises(ValueError, match=r"Call `train\(\)` before"):
        net.eval().system.loss(net.system(given), given)
    net.train()
    given.targets.pop("caption")
    assert net.system(given).generated is not None


def test_words_train_masks_through_collaboration():
    net, given = model().train(), batch()
    losses_of(net, given)["words"].backward()
    assert decoders(net).segmentation.decoder.out[-1].weight.grad.abs().sum() > 0
    net = model(mcm=False, rcc=False).train()
    losses_of(net, given)["words"].backward()
    assert decoders(net).segmentation.decoder.out[-1].weight.grad is None


def test_true_masks_teach_for_the_first_epochs():
    net, given = model(mcm_teacher=1).train(), batch()
    last = decoders(net).segmentation.decoder.out[-1]
    losses_of(net, given)["words"].backward()
    assert not last.weight.grad.any()
    net.system.on_epoch_start(1)
    losses_of(net, given)["words"].backward()
    assert last.weight.grad.any()


def test_word_pieces_are_made_of_the_words_in_any_order():
    words = ["drum", "a", "red"]
    first, second = (
        create_head("ra_ssu", "ssuformer", HeadInputs(16, Vocabulary(words=order), (8,)), mask_width=16, text_width=16)
        for order in (words, words[::-1])
    )
    assert first.decoders.tokenizer.pieces.pieces == second.decoders.tokenizer.pieces.pieces == make_wordpieces(words)
    given = Vocabulary(words=words, pieces=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "dr", "##um"])
    head = create_head("ra_ssu", "ssuformer", HeadInputs(16, given, (8,)), mask_width=16, text_width=16)
    assert head.decoders.tokenizer.pieces.pieces == given.pieces
    with pytest.raises(ValueError, match="vocabulary has none"):
        create_head("ra_ssu", "ssuformer", HeadInputs(16, Vocabulary(), (8,)))


def test_data_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="feature pyramid"):
        create_head("ra_ssu", "ssuformer", HeadInputs(16, SCENES.vocabulary))
    with pytest.raises(ValueError, match=r"heads\.ra_ssu\.max_pieces"):
        SSUFormerHeadOptions(max_pieces=64)
    net = model(EXPERT).train()
    with pytest.raises(ValueError, match=r"set heads\.ra_ssu\.expert_width"):
        net.system(collate([item(0, 2, torch.randn(2, 7))], "ra_ssu"))


def test_captions_are_repeated_below_the_threshold():
    net, given = model().eval(), batch(2, 4)
    assert net.system.set_caption_change_threshold(10.0)
    masks = torch.full((2, 4, 1, 8, 8), 5.0)
    tokens = net.system.tokens(given)
    output = decoders(net).description.generate(tokens, masks, 10.0)
    assert output.new.tolist() == [[True, False, False, False]] * 2
    rows = output.pieces.unflatten(0, (2, 4))
    assert (rows == rows[:, :1]).all()
