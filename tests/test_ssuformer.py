# SPDX-License-Identifier: Apache-2.0
"""SSUFormer as a system: the paper's rows, the gradients between its parts, and bad input."""

import math
from dataclasses import asdict, fields, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml

from avkit.batch import Vocabulary
from avkit.cli.renamed import SYSTEM_OPTIONS, refuse_renamed_fit_options
from avkit.collate import collate, crop
from avkit.datasets.scenes import Scenes
from avkit.errors import DataError, RunError
from avkit.features.base import FeatureFacts
from avkit.features.store import Store, write_store
from avkit.systems import make_config
from avkit.systems.ssuformer.caption_changes import changed_steps
from avkit.systems.ssuformer.config import SSUFormerConfig
from avkit.training.checkpoint_fit import check_same
from avkit.training.datamodule import AVDataModule
from avkit.training.items import expert_features
from avkit.training.module import AVModel
from avkit.training.options import BatchSizeOptions, CropOptions

SCENES = Scenes("train", size=30, image_size=32)
FIELDS = frozenset({"mask", "mask_known", "caption"})
CONFIGS = Path(__file__).parents[1] / "avkit" / "configs" / "ssuformer"
ROWS = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem not in ("published", "scenes"))
EXPERT = 6


def row(name, **changes):
    given = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    return make_config(given["model"]["system"] | changes)


def item(index=0, steps=2, expert=None):
    return replace(crop(SCENES.item(index, FIELDS), 3, steps), expert=expert)


def batch(count=3, steps=2, expert=False):
    torch.manual_seed(1)
    features = [torch.randn(steps, EXPERT) if expert and i != 1 else None for i in range(count)]
    return collate([item(i, steps, features[i]) for i in range(count)], "ra_ssu")


def model(config=None, **changes):
    torch.manual_seed(0)
    return AVModel("ra_ssu", SCENES.vocabulary, config or row("ssu", **changes), expert=EXPERT)


def losses_of(net, given):
    return net.system.loss(net.system(given), given)


def decoders(net):
    return net.system.decoders


@pytest.mark.parametrize("name", ROWS)
def test_each_row_of_the_paper_trains_all_that_it_has(name):
    net = model(row(name)).train()
    losses = losses_of(net, batch(expert=True))
    assert all(torch.isfinite(x) for x in losses.values())
    both = {"mask", "words"} | ({"consistency"} if name in ("rcc", "ssu") else set())
    wanted = {"ssu_s": {"mask"}, "ssu_d": {"words"}}.get(name, both)
    wanted |= {"expert_share"} if name in ("ssu", "ssu_d") else set()
    assert losses.keys() - {"loss"} == wanted
    losses["loss"].backward()
    for part, p in net.named_parameters():
        if p.requires_grad:
            assert p.grad is not None, part
            assert torch.isfinite(p.grad).all(), part
    description = decoders(net).description
    if description is not None and description.regions is not None:
        assert not any(p.requires_grad for p in description.regions.parameters())


def test_rows_differ_by_the_switches_of_the_paper_alone():
    options = {name: asdict(row(name)) for name in ROWS}
    order = ["baseline", "focal", "mcm", "rcc", "ssu"]
    changed = [{k for k in options[a] if options[a][k] != options[b][k]} for a, b in pairwise(order)]
    assert changed == [{"text_loss"}, {"mcm"}, {"rcc"}, {"mohe"}]
    assert {options[name]["answers"] for name in ("ssu_s", "ssu_d")} == {"masks", "captions"}


def test_total_loss_is_equation_four_and_six():
    net = model(text_loss="focal", mask_weight=0.3, rcc=True).train()
    parts = losses_of(net, batch())
    total = 0.3 * parts["mask"] + 0.7 * parts["words"] + 0.1 * parts["consistency"]
    torch.testing.assert_close(parts["loss"], total)


@pytest.mark.parametrize("name", ["ssu", "ssu_s", "ssu_d"])
def test_prediction_needs_no_targets_and_padding_changes_nothing(name):
    net = model(row(name)).eval()
    short, long = item(0, 2), item(1, 4)
    with torch.no_grad():
        alone = net(collate([replace(short, targets={})], "ra_ssu"))
        both = net(collate([short, long], "ra_ssu"))
    if "mask" in alone.values:
        torch.testing.assert_close(alone["mask"][0], both["mask"][0, :2], atol=1e-4, rtol=1e-4)
    if "caption" in alone.values:
        assert alone["caption"][0] == both["caption"][0][:2]


def mask_gradient(net, given, part):
    """Size of one loss's gradient at the last layer of the mask decoder."""
    net.zero_grad()
    losses_of(net, given)[part].backward()
    grad = decoders(net).segmentation.decoder.out[-1].weight.grad
    return 0.0 if grad is None else float(grad.abs().sum())


def test_words_train_masks_through_collaboration_alone():
    given = batch()
    assert mask_gradient(model(row("mcm")).train(), given, "words") > 0
    assert mask_gradient(model(row("focal")).train(), given, "words") == 0


def test_consistency_trains_masks_and_words():
    net = model(row("rcc")).train()
    assert mask_gradient(net, batch(), "consistency") > 0
    assert decoders(net).description.decoder.embed.weight.grad.abs().sum() > 0
    assert mask_gradient(model(row("rcc", mcm=False)).train(), batch(), "consistency") > 0


@pytest.mark.slow
def test_regions_and_predicted_words_can_be_read_by_clip():
    pytest.importorskip("open_clip")
    net = model(row("rcc", region="clip_vit_b32")).train()
    assert mask_gradient(net, batch(2), "consistency") > 0
    assert all(p.grad is None for p in decoders(net).description.captions.parameters())
    assert decoders(net).description.decoder.embed.weight.grad.abs().sum() > 0


def test_true_captions_pull_at_masks_alone():
    net = model(row("rcc", rcc_text="clip")).train()
    assert net.system.config.rcc_text == "reference"
    assert mask_gradient(net, batch(2), "consistency") > 0
    assert decoders(net).description.decoder.embed.weight.grad is None


def test_a_text_encoder_of_training_is_not_counted_for_answers():
    net = model(row("rcc"))
    counted = {id(p) for part in net.system.modules_of("ra_ssu") for p in part.parameters()}
    left_out = [name for name, p in net.system.named_parameters() if id(p) not in counted]
    assert left_out
    assert all(name.startswith("decoders.description.captions.") for name in left_out)


def test_true_masks_teach_for_the_first_epochs():
    net = model(row("mcm", mcm_teacher=1)).train()
    given = batch()
    assert mask_gradient(net, given, "words") == 0
    given.targets["mask_known"][0, 0] = False  # an unknown mask is not taught
    assert mask_gradient(net, given, "words") > 0
    given.targets["mask_known"][0, 0] = True
    net.system.on_epoch_start(1)
    assert mask_gradient(net, given, "words") > 0
    net.system.on_epoch_start(0)
    net.eval()  # outside of training no target is read
    with torch.no_grad():
        true, other = batch(), batch()
        other.targets["mask"] = 1 - other.targets["mask"]
        assert net(true)["caption"] == net(other)["caption"]


def test_learned_weight_starts_where_the_paper_sets_it():
    net = model(balance="learned").train()
    parts = losses_of(net, batch())
    assert float(parts["mask_weight"]) == pytest.approx(0.25, abs=0.01)
    weight = parts["mask_weight"]
    total = weight * parts["mask"] + (1 - weight) * parts["words"] + 0.1 * parts["consistency"]
    torch.testing.assert_close(parts["loss"], total)


def test_the_router_reads_the_expert_and_the_report_says_so():
    net = model().eval()
    with torch.no_grad():
        with_expert = net(batch(expert=True))
        without = net(batch())
    (note,) = net.system.notes("ra_ssu")
    assert "33 % of the steps" in note
    assert with_expert["caption"][1] == without["caption"][1]  # the clip that has no features
    net.system.on_evaluation_start()
    assert net.system.notes("ra_ssu") == []
    other = model().eval()
    with torch.no_grad():
        other(batch())
    assert other.system.notes("ra_ssu") == [
        "No clip had features of an expert: the router kept to the caption decoder."
    ]


def test_captions_are_generated_anew_where_something_changed():
    net = model(row("mcm", caption_change_threshold=0.5)).eval()
    given = batch(2, 4)
    tokens = net.system.tokens(given)
    same = replace(tokens, **{k: getattr(tokens, k)[:, :1].expand_as(getattr(tokens, k)) for k in ("audio", "frame")})
    masks = torch.full((2, 4, 1, 8, 8), -5.0)
    assert changed_steps(same, masks, None, 0.5).tolist() == [[True, False, False, False]] * 2
    masks[0, 2:] = 5.0  # something comes into view, or leaves it
    new = changed_steps(same, masks, None, 0.5)
    assert new.tolist() == [[True, False, True, False], [True, False, False, False]]
    other_sound = replace(same, audio=torch.cat([same.audio[:, :3], -same.audio[:, 3:]], 1))
    assert changed_steps(other_sound, masks, None, 0.5)[1].tolist() == [True, False, False, True]
    padded = replace(same, valid=torch.tensor([[False, True, True, False]] * 2))
    assert changed_steps(padded, None, None, 0.5).tolist() == [[False, True, False, False]] * 2
    with torch.no_grad():
        values = net(given).values
        all_new = model(row("mcm")).eval()(given).values
    assert all_new["caption_written"].all()
    for clip in range(2):
        for step, new in enumerate(values["caption_written"][clip].tolist()):
            source = all_new if new else values
            assert values["caption"][clip][step] == source["caption"][clip][step - (not new)]
    assert net.system.set_caption_change_threshold(0.0)
    with torch.no_grad():
        assert net(given)["caption"] == all_new["caption"]
    assert not model(row("ssu_s")).system.set_caption_change_threshold(0.1)


def test_beams_write_too():
    net = model(beams=3).eval()
    with torch.no_grad():
        assert len(net(batch(expert=True))["caption"]) == 3


def test_masks_and_captions_that_are_empty_everywhere():
    net, given = model(mask_loss="dice").train(), batch()
    given.targets["mask"] = torch.zeros_like(given.targets["mask"])
    losses = losses_of(net, given)
    assert torch.isfinite(losses["loss"])
    losses["loss"].backward()
    given.targets["caption"] = [["", " "] for _ in given.id]
    losses = losses_of(net, given)
    assert float(losses["words"].detach()) == 0
    losses["loss"].backward()
    given.targets["mask_known"] = torch.zeros_like(given.targets["mask_known"])
    assert torch.isfinite(losses_of(net, given)["loss"])
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_long_captions_are_cut_and_counted():
    net, given = model(row("mcm", positions=8, max_pieces=6)).train(), batch()
    with pytest.warns(UserWarning, match=r"word pieces, and system.positions 8 leave room for 6"):
        assert torch.isfinite(losses_of(net, given)["loss"])
    long = sum(
        n > 6 for n in decoders(net).tokenizer.pieces.count([c for clip in given.targets["caption"] for c in clip])
    )
    assert net.system.notes("ra_ssu")[0].startswith(
        f"{long} training captions were longer than 6 word pieces and were cut"
    )


def test_features_of_an_expert_must_fit(tmp_path):
    net = model().train()
    with pytest.raises(ValueError, match="7 wide, this model takes 6"):
        losses_of(net, collate([item(0, 2, torch.randn(2, 7))], "ra_ssu"))
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
    ("changes", "message"),
    [
        ({"answers": "mask"}, "answers"),
        ({"answers": "captions"}, "Set system.mcm to false"),
        ({"answers": "masks", "mcm": False, "rcc": False}, "Set system.mohe to false"),
        ({"max_pieces": 64}, "64 positions leave room"),
        ({"region": "small", "rcc": True}, "'small' has none. Choose a region of clip_vit_b32, .*small_embedding"),
        ({"text_loss": "foucal"}, "focal"),
    ],
)
def test_switches_that_contradict_each_other(changes, message):
    with pytest.raises(ValueError, match=message):
        SSUFormerConfig(**changes)


def test_other_tasks_and_other_systems_are_named():
    with pytest.raises(ValueError, match="answers ra_ssu, not avs"):
        AVModel("ra_ssu,avs", SCENES.vocabulary, SSUFormerConfig())
    with pytest.raises(ValueError, match="ssuformer"):
        make_config({"name": "ssuformr"})
    with pytest.raises(ValueError, match=r"leave model\.heads and model\.interface out"):
        AVModel("ra_ssu", SCENES.vocabulary, SSUFormerConfig(), interface="sequence")


def test_old_names_of_options_are_refused_with_the_new_ones():
    args = ["--model.system.name", "ssuformer", "--model.system.steady", "0.1", "--model.system.a", "0.5"]
    with pytest.raises(ValueError, match=r"steady is now --model\.system\.caption_change_threshold.*mask_weight"):
        refuse_renamed_fit_options(args)
    names = {field.name for field in fields(SSUFormerConfig)}
    assert set(SYSTEM_OPTIONS["ssuformer"].values()) <= names
    assert not names & SYSTEM_OPTIONS["ssuformer"].keys()


def test_stored_visual_features_are_refused():
    with pytest.raises(ValueError, match=r"Leave data\.features\.visual out"):
        AVModel("ra_ssu", SCENES.vocabulary, SSUFormerConfig(), features={"ra_ssu": [16, 0]})


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
    count = sum(p.numel() for part in net.system.modules_of("ra_ssu") for p in part.parameters())
    assert abs(count / 319.62e6 - 1) < 0.02


def test_the_published_epochs_are_passes_over_f_music(monkeypatch):
    published = yaml.safe_load((CONFIGS / "published.yaml").read_text())
    given = published["data"]
    data = AVDataModule(
        published["tasks"],
        root="f-music",
        dataset=given["dataset"],
        batch_size=BatchSizeOptions(**given["batch_size"]),
        crop=CropOptions(**given["crop"]),
        steps_per_epoch=given.get("steps_per_epoch"),
    )
    clips = 2982  # three quarters of 3,976
    monkeypatch.setattr(data, "indices", lambda split, benchmark: list(range(clips)))
    assert data.steps == math.ceil(clips / 4) == 746
    assert published["model"]["system"]["rcc_weight"] == 1
    assert published["trainer"]["max_epochs"] == 60
