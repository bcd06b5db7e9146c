# SPDX-License-Identifier: Apache-2.0
"""SSUFormer whole: the paper's rows, what its parts tell each other, and bad input."""

from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml

from avkit.batch import Vocabulary
from avkit.collate import collate, crop
from avkit.datasets.scenes import Scenes
from avkit.errors import DataError, RunError
from avkit.features.base import FeatureFacts
from avkit.features.store import Store, write_store
from avkit.systems import make_config
from avkit.systems.ssuformer.network import SSUFormerConfig
from avkit.training.loader import expert_features
from avkit.training.module import AVModel, check_same

SCENES = Scenes("train", size=30, image_size=32)
FIELDS = frozenset({"mask", "mask_known", "caption"})
CONFIGS = Path(__file__).parents[1] / "configs" / "ssuformer"
ROWS = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "published")
EXPERT = 6


def row(name, **changes):
    given = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    return make_config(given["model"]["system"] | changes)


def item(index=0, steps=2, expert=None):
    found = crop(SCENES.item(index, FIELDS), 3, steps)
    return replace(found, expert=expert)


def batch(count=3, steps=2, expert=False):
    torch.manual_seed(1)
    known = [torch.randn(steps, EXPERT) if expert and i != 1 else None for i in range(count)]
    return collate([item(i, steps, known[i]) for i in range(count)], "ra_ssu")


def model(config=None, **changes):
    torch.manual_seed(0)
    return AVModel("ra_ssu", SCENES.vocabulary, config or row("ssu", **changes), expert=EXPERT)


def head(net):
    return net.heads["ra_ssu"]


@pytest.mark.parametrize("name", ROWS)
def test_each_row_of_the_paper_trains_all_that_it_has(name):
    net = model(row(name)).train()
    losses = net.losses(batch(expert=True))
    assert all(torch.isfinite(x) for x in losses.values())
    both = {"mask", "words"} | ({"consistency"} if name in ("rcc", "ssu") else set())
    wanted = {"ssu_s": {"mask"}, "ssu_d": {"words"}}.get(name, both)
    wanted |= {"expert"} if name in ("ssu", "ssu_d") else set()
    assert losses.keys() - {"loss"} == wanted
    losses["loss"].backward()
    for part, p in net.named_parameters():
        if p.requires_grad:
            assert p.grad is not None, part
            assert torch.isfinite(p.grad).all(), part
    assert all(not p.requires_grad for p in head(net).region.parameters()) if head(net).region is not None else True


def test_rows_differ_by_the_switches_of_the_paper_alone():
    found = {name: asdict(row(name)) for name in ROWS}
    order = ["baseline", "focal", "mcm", "rcc", "ssu"]
    changed = [{k for k in found[a] if found[a][k] != found[b][k]} for a, b in pairwise(order)]
    assert changed == [{"text_loss"}, {"mcm"}, {"rcc"}, {"mohe"}]
    assert {found[name]["answers"] for name in ("ssu_s", "ssu_d")} == {"masks", "captions"}


def test_total_loss_is_equation_four_and_six():
    net = model(text_loss="focal", a=0.3).train()
    parts = net.losses(batch())
    total = 0.3 * parts["mask"] + 0.7 * parts["words"] + parts["consistency"]
    torch.testing.assert_close(parts["loss"], total)


@pytest.mark.parametrize("name", ["ssu", "ssu_s", "ssu_d"])
def test_prediction_needs_no_targets_and_padding_changes_nothing(name):
    net = model(row(name)).eval()
    short, long = item(0, 2), item(1, 4)
    with torch.no_grad():
        alone = net(collate([replace(short, targets={})], "ra_ssu"))
        both = net(collate([short, long], "ra_ssu"))
    if "mask_logits" in alone.values:
        torch.testing.assert_close(alone["mask_logits"][0], both["mask_logits"][0, :2], atol=1e-4, rtol=1e-4)
    if "caption" in alone.values:
        assert alone["caption"][0] == both["caption"][0][:2]


def mask_gradient(net, given, part):
    """How one loss pulls at the last layer of the mask decoder."""
    net.zero_grad()
    net.losses(given)[part].backward()
    grad = head(net).masks.out[-1].weight.grad
    return 0.0 if grad is None else float(grad.abs().sum())


def test_words_pull_at_masks_through_collaboration_alone():
    given = batch()
    assert mask_gradient(model(row("mcm")).train(), given, "words") > 0
    assert mask_gradient(model(row("focal")).train(), given, "words") == 0


def test_consistency_pulls_at_masks_and_at_words():
    net = model(row("rcc")).train()
    assert mask_gradient(net, batch(), "consistency") > 0
    assert head(net).decoder.embed.weight.grad.abs().sum() > 0
    assert mask_gradient(model(row("rcc", mcm=False)).train(), batch(), "consistency") > 0


@pytest.mark.slow
def test_true_captions_can_be_read_by_clip_instead():
    """Frozen on its side, so that consistency pulls at masks alone."""
    pytest.importorskip("open_clip")
    net = model(row("rcc", rcc_text="clip", region="clip_vit_b32")).train()
    assert mask_gradient(net, batch(2), "consistency") > 0
    assert all(p.grad is None for p in head(net).reader.parameters())
    assert head(net).decoder.embed.weight.grad is None


def test_true_masks_teach_for_the_first_epochs():
    net = model(row("mcm", mcm_teacher=1)).train()
    task, given = net.tasks["ra_ssu"], batch()
    assert mask_gradient(net, given, "words") == 0
    given.targets["mask_known"][0, 0] = False  # an unknown mask is not taught
    assert torch.isnan(task.inputs(given)["shown"][0, 0]).all()
    assert mask_gradient(net, given, "words") > 0
    task.epoch = 1
    assert "shown" not in task.inputs(given)


def test_learnt_share_starts_where_the_paper_sets_it():
    net = model(balance="learned").train()
    parts = net.losses(batch())
    assert float(parts["a"].detach()) == pytest.approx(0.25, abs=1e-6)
    parts["loss"].backward()
    assert head(net).weight.logit.grad is not None


def test_the_router_hears_of_the_expert_and_the_report_says_so():
    net = model().eval()
    with torch.no_grad():
        told, silent = net(batch(expert=True)), net(batch())
    (note,) = net.tasks["ra_ssu"].notes()
    assert "33 % of the steps" in note
    assert told["caption"][1] == silent["caption"][1]  # the clip that has no features
    other = model().eval()
    with torch.no_grad():
        other(batch())
    assert other.tasks["ra_ssu"].notes() == [
        "No clip had features of an expert: the router kept to the caption decoder."
    ]


def test_captions_are_written_anew_where_something_changed():
    net = model(row("mcm"), steady=0.0)
    net = model(row("mcm", steady=0.5)).eval()
    given = batch(2, 4)
    tokens = net.encode(given)
    same = replace(tokens, **{k: getattr(tokens, k)[:, :1].expand_as(getattr(tokens, k)) for k in ("audio", "frame")})
    masks = torch.full((2, 4, 1, 8, 8), -5.0)
    found = head(net)._changes(same, masks, None).view(2, 4)
    assert found.tolist() == [[True, False, False, False]] * 2
    masks[0, 2:] = 5.0  # something comes into view, or leaves it
    found = head(net)._changes(same, masks, None).view(2, 4)
    assert found.tolist() == [[True, False, True, False], [True, False, False, False]]
    loud = replace(same, audio=torch.cat([same.audio[:, :3], -same.audio[:, 3:]], 1))
    assert head(net)._changes(loud, masks, None).view(2, 4)[1].tolist() == [True, False, False, True]
    with torch.no_grad():
        values = net(given).values
        every = model(row("mcm")).eval()(given).values
    for clip in range(2):
        for step, new in enumerate(values["caption_written"][clip].tolist()):
            assert values["caption"][clip][step] == (every if new else values)["caption"][clip][step - (not new)]


def test_beams_write_too():
    net = model(beams=3).eval()
    with torch.no_grad():
        assert len(net(batch(expert=True))["caption"]) == 3


def test_masks_and_captions_that_are_empty_everywhere():
    net, given = model(mask_loss="dice").train(), batch()
    given.targets["mask"] = torch.zeros_like(given.targets["mask"])
    losses = net.losses(given)
    assert torch.isfinite(losses["loss"])
    losses["loss"].backward()
    given.targets["caption"] = [["", " "] for _ in given.id]
    losses = net.losses(given)
    assert float(losses["words"].detach()) == 0
    losses["loss"].backward()
    given.targets["mask_known"] = torch.zeros_like(given.targets["mask_known"])
    assert torch.isfinite(net.losses(given)["loss"])
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_long_captions_are_cut_and_counted():
    net, given = model(row("mcm", positions=8, most=6)).train(), batch()
    with pytest.warns(UserWarning, match=r"word pieces, and system.positions 8 leave room for 6"):
        assert torch.isfinite(net.losses(given)["loss"])
    assert "longer than 6 word pieces and were cut" in net.tasks["ra_ssu"].notes()[0]


def test_features_of_an_expert_must_fit(tmp_path):
    net = model().train()
    with pytest.raises(ValueError, match="7 wide, this model takes 6"):
        net.losses(collate([item(0, 2, torch.randn(2, 7))], "ra_ssu"))
    with pytest.raises(ValueError, match="different widths"):
        collate([item(0, 2, torch.randn(2, 7)), item(1, 2, torch.randn(2, 6))], "ra_ssu")
    with pytest.raises(ValueError, match="NaN"):
        collate([item(0, 2, torch.full((2, 6), torch.nan))], "ra_ssu")
    wide = torch.arange(18.0).view(3, 6).numpy()
    per_step = Store(write_store(tmp_path / "steps.h5", [("a", wide)], FeatureFacts("x", hop=1.0)))
    per_clip = Store(write_store(tmp_path / "clip.h5", [("a", wide)], FeatureFacts("x")))
    assert expert_features(per_step, "b", item(0, 2)) is None
    assert expert_features(per_step, "a", item(0, 3)).shape == (3, 6)
    assert expert_features(per_clip, "a", item(0, 2)).shape == (3, 6)
    with pytest.raises(DataError, match=r"'a' has features .3, 6., one row every 1 s; the clip has 2 steps"):
        expert_features(per_step, "a", item(0, 2))
    cut = crop(item(0, 4, torch.arange(24.0).view(4, 6)), 1, 2)
    assert cut.expert[0, 0] == 6
    assert len(crop(item(0, 4, torch.zeros(9, 6)), 1, 2).expert) == 9


def test_a_tokenizer_that_differs_from_the_checkpoints_is_refused():
    net = model()
    facts = {"tasks": ["ra_ssu"], "vocabulary": asdict(net.vocabulary)}
    check_same(facts, ["ra_ssu"], net.vocabulary)
    other = replace(net.vocabulary, pieces=[*net.vocabulary.pieces, "more"])
    with pytest.raises(RunError, match=r"other word pieces \(its tokenizer\): .* such as 'more'. Set system.pieces"):
        check_same(facts, ["ra_ssu"], other)
    facts["vocabulary"].pop("pieces")  # a run from before there were any
    check_same(facts, ["ra_ssu"], SCENES.vocabulary)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"answers": "mask"}, "answers"),
        ({"answers": "captions"}, "Set system.mcm to false"),
        ({"answers": "masks", "mcm": False, "rcc": False}, "Set system.mohe to false"),
        ({"most": 64}, "64 positions leave room"),
        ({"rcc_text": "clip"}, "needs a CLIP"),
        ({"text_loss": "foucal"}, "focal"),
    ],
)
def test_switches_that_contradict_each_other(changes, said):
    with pytest.raises(ValueError, match=said):
        SSUFormerConfig(**changes)


def test_other_tasks_and_other_systems_are_named():
    with pytest.raises(ValueError, match="answers ra_ssu, not avs"):
        AVModel("ra_ssu,avs", SCENES.vocabulary, SSUFormerConfig())
    with pytest.raises(ValueError, match="ssuformer"):
        make_config({"name": "ssuformr"})
    with pytest.raises(ValueError, match="no form of a sequence"):
        AVModel("ra_ssu", SCENES.vocabulary, SSUFormerConfig(), interface="sequence")


def test_the_published_size_is_the_papers():
    pytest.importorskip("open_clip")
    pytest.importorskip("timm")
    given = {}
    for name in ("published", "ssu"):
        given |= yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["model"]["system"]
    given = {k: None if k.endswith("_weights") else x for k, x in given.items() if k != "pieces"}
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(30_518))]
    with torch.device("meta"):
        net = AVModel("ra_ssu", Vocabulary(words=["a"], pieces=pieces), make_config(given), expert=4096)
    count = sum(p.numel() for p in net.parameters())
    assert abs(count / 319.62e6 - 1) < 0.02
