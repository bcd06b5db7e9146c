# SPDX-License-Identifier: Apache-2.0
"""UniAV: one expert of three, classes in words, official weights out and back, and what it learns."""

import hashlib
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dense_toys import made_of_events, train_on_events

from avkit.batch import FeatureWidths, Vocabulary
from avkit.cli import main
from avkit.errors import DataError, FileError
from avkit.licences import LicenceError, commercial_only
from avkit.metrics import EventDetectionMAP
from avkit.systems import create_system, find_config, find_network
from avkit.systems.base import RunContext
from avkit.systems.encoder_weights import check_encoder_weights, weights_facts
from avkit.systems.uniav import prompts as prompts_module
from avkit.systems.uniav.classifier import LanguageClassifier
from avkit.systems.uniav.experts import EXPERTS, class_sentences, expert_of, name_for
from avkit.systems.uniav.network import UniAV
from avkit.systems.uniav.prompts import ClassPrompts, read_class_features
from avkit.tasks import build_tasks

SIZES = {"width": 16, "channels": 12, "heads": 2, "length": 64}
NETWORK = {**SIZES, "visual": 6, "audio": 5, "text": 7, "classes": 3}
CLASSES = ["dog barking", "cat", "playing_violin"]


def make(**more):
    torch.manual_seed(0)
    return UniAV.build(**{**NETWORK, **more}).eval()


def features(steps=20, classes=3):
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, steps, 6), (2, steps, 5)]
    visual, audio = (torch.randn(*shape, generator=generator) for shape in shapes)
    valid = torch.arange(steps) < torch.tensor([steps, steps - 7])[:, None]
    return visual * valid[..., None], audio * valid[..., None], valid, torch.randn(classes, 7, generator=generator)


def official_state(classes=3):
    """Weights of three experts by official keys, each layer with values of its own."""
    state = make(classes=classes).to_official()
    generator = torch.Generator().manual_seed(2)
    return {key: torch.randn(x.shape, generator=generator) * 0.1 for key, x in state.items()}


def make_system(**options):
    torch.manual_seed(0)
    vocabulary = Vocabulary(classes=CLASSES)
    widths = {"davel": FeatureWidths(6, 5)}
    context = RunContext(build_tasks(["davel"], vocabulary), vocabulary, widths, prompts={"davel": ""})
    return create_system("uniav", context, **{**SIZES, **options})


@pytest.fixture
def rows(tmp_path):
    """A file of text features of three classes."""
    path = tmp_path / "rows.npy"
    np.save(path, np.random.default_rng(0).standard_normal((3, 7)).astype(np.float32))
    return path


@torch.no_grad()
def test_levels_have_logits_and_boundaries_of_all_classes():
    for aware, shape in ((True, (3, 2)), (False, (2,))):
        levels = make(aware=aware)(*features())
        assert [level.stride for level in levels] == [1, 2, 4, 8, 16, 32]
        for level in levels:
            points = 64 // level.stride
            assert level.logits.shape == (2, points, 3)
            assert level.offsets.shape == (2, points, *shape)
            assert not level.logits[~level.valid].any()
    assert make()(*features(steps=70))[0].logits.shape[1] == 96


@torch.no_grad()
def test_logits_are_cosines_over_a_temperature():
    torch.manual_seed(0)
    classifier = LanguageClassifier(12, 7)
    x, prompts, valid = torch.randn(1, 5, 12), torch.randn(3, 7), torch.ones(1, 5, dtype=torch.bool)
    found = classifier(x, valid, prompts)
    for point in range(5):
        for label in range(3):
            one = classifier.point(x, valid)[0, point]
            other = classifier.text.weight @ prompts[label] + classifier.text.bias
            assert found[0, point, label].item() == pytest.approx(
                F.cosine_similarity(one, other, 0).item() / 0.07, 1e-4
            )
    torch.testing.assert_close(classifier(x, valid, 5 * prompts), found)  # its bias is 0 at first
    torch.testing.assert_close(classifier(x, valid, prompts.flip(0)), found.flip(2))


@torch.no_grad()
def test_each_expert_of_a_checkpoint_answers_with_its_own_layers():
    state = official_state(classes=100)
    answers = {}
    for name, expert in EXPERTS.items():
        network = UniAV.from_official(state, expert=name, heads=2, length=64).eval()
        assert (network.built_with["classes"], network.built_with["aware"]) == (expert.classes, expert.aware)
        answers[name] = network(*features(classes=4))[0].logits
        changed = {key: x + 1 if expert_of(key) not in (None, name) else x for key, x in state.items()}
        again = UniAV.from_official(changed, expert=name, heads=2, length=64).eval()
        assert torch.equal(again(*features(classes=4))[0].logits, answers[name])
        back = network.to_official()
        assert back.keys() == state.keys()
        assert all(torch.equal(back[key], state[key]) for key in state)
    assert not torch.allclose(answers["AVEL"], answers["TAL"])
    assert not torch.allclose(answers["AVEL"], answers["SED"])


@pytest.fixture
def benchmark(monkeypatch):
    """The script that runs the authors' network, as far as it needs none."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module("uniav")
    for name in {"uniav", "papers", "official_uniav", "official_spatial"} - before:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", EXPERTS)
def test_outputs_and_losses_are_the_recorded_ones_of_the_authors(benchmark, name):
    recorded = json.loads(Path(__file__).with_name("uniav_official.json").read_text())
    section = recorded["cases"][name]["section"]
    state = benchmark.weights_by_rule(recorded["shapes"])
    options = {"heads": recorded["model"]["n_head"], "length": section["dataset"]["max_seq_len"]}
    network = benchmark.without_chance(UniAV.from_official(state, expert=name, **options)).double()
    assert network.official_shapes() == {key: tuple(shape) for key, shape in recorded["shapes"].items()}
    videos = benchmark.make_videos({"model": recorded["model"]}, section)
    with torch.no_grad():
        found = benchmark.samples(benchmark.our_outputs(network, videos.inputs))
        losses = benchmark.our_losses(network, videos, section)
    for ours, theirs in zip(found, recorded["cases"][name]["outputs"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    for ours, theirs in (("classes", "cls_loss"), ("segments", "reg_loss"), ("loss", "final_loss")):
        assert losses[ours].item() == pytest.approx(recorded["cases"][name]["losses"][theirs], abs=1e-5)


def test_keys_of_experts():
    assert name_for("SED", "backbone.cross_att_Va.0.mlp.0.weight") == "backbone.cross_att_Va.0.mlp_SED.0.weight"
    assert expert_of("reg_head.offset_head.TASK1.conv.bias") == "TAL"
    assert expert_of("backbone.self_att_A.1.ln2_AVEL.bias") == "AVEL"
    assert expert_of("cls_head.logit_scale") is None
    new = make().to_official()  # of no checkpoint: the authors' network has layers of all tasks
    layers = {name: {k for k in new if expert_of(k) == name} for name in EXPERTS}
    assert {len(keys) for keys in layers.values()} == {98}
    assert new["reg_head.offset_head.TASK1.conv.weight"].shape == (2, 12, 3)
    assert new["reg_head.offset_head.TASK3.conv.weight"].shape == (20, 12, 3)


def test_shared_boundaries_do_not_tell_the_number_of_classes():
    state = official_state()
    assert UniAV.from_official(state, expert="TAL").built_with["classes"] == 200
    assert UniAV.from_official(state, expert="TAL", classes=7).built_with["classes"] == 7
    with pytest.raises(DataError, match="have classes 3, and 4 was given"):
        UniAV.from_official(state, classes=4)
    with pytest.raises(DataError, match=r"Unknown expert 'TALL'\. Did you mean 'TAL'"):
        UniAV.from_official(state, expert="TALL")
    with pytest.raises(ValueError, match="Unknown expert 'avel'"):
        make(expert="avel")


def test_convert_takes_one_expert_and_gives_all_back(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    state = official_state()
    averaged = {f"module.{key}": x for key, x in state.items()}
    torch.save({"epoch": 6, "state_dict": state, "state_dict_ema": averaged}, "official.pth.tar")
    words = ["convert", "uniav", "official.pth.tar", "-o", "ours.safetensors", "--set", "expert=SED"]
    assert main([*words, "--set", "heads=2", "--set", "length=64"]) == 0
    text = capsys.readouterr().out
    assert "expert SED" in text
    assert "196 are unused" in text
    assert main(["convert", "uniav", "ours.safetensors", "--reverse", "-o", "back.pth"]) == 0
    back = torch.load("back.pth", weights_only=True)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    with pytest.raises(DataError, match=r"They are those of uniav: avkit convert uniav"):
        find_network("unav").from_official(state)


def test_what_is_read_for_a_class():
    assert class_sentences("AVEL", CLASSES)[2] == "An audio visual event of playing violin."
    system = make_system()
    assert len(set(map(tuple, system.text(system.sentences).pooled.tolist()))) == 3
    assert "violin" in system.text.encoder.tokenizer.words


#: Forms that learn too; the default is tried in every run of the tests.
OTHERS = [{"aware": False}, {"text": "class_prompts", "text_width": 7}]


@pytest.mark.parametrize("options", [{}, *(pytest.param(options, marks=pytest.mark.slow) for options in OTHERS)])
def test_it_learns_to_find_events(options, rows):
    weights = str(rows) if "text" in options else None
    sizes = {"width": 32, "channels": 32, "length": 32, "levels": 3, "drop_path": 0.0}
    system = make_system(normaliser=20.0, text_weights=weights, **sizes, **options)
    batch = made_of_events(clips=4, steps=32, widths=(6, 5), classes=3)
    assert train_on_events(system, batch, steps=80 if options else 40, rate=5e-3) < 0.1
    metric = EventDetectionMAP()
    with torch.no_grad():
        rows_of = system.eval().predict(system(batch), batch)["event_list"]
    preds = [{"segments": row[:, :2], "labels": row[:, 2].long(), "scores": row[:, 3]} for row in rows_of]
    target = [{"segments": row[:, :2], "labels": row[:, 2].long()} for row in batch.targets["events"]]
    metric.update(batch.id, preds, target)
    assert metric.compute()["mAP@0.5"] > 0.4


def test_every_trained_parameter_gets_a_gradient():
    for options in ({}, {"text": "class_prompts", "text_width": 7, "train_encoders": True}):
        system = make_system(**options).train()
        batch = made_of_events(clips=2, steps=40, widths=(6, 5), classes=3)
        batch.targets["events"][1] = batch.targets["events"][1][:0]  # a video without events
        losses = system.loss(system(batch), batch)
        assert all(value.isfinite() for value in losses.values())
        losses["loss"].backward()
        without = [name for name, parameter in system.named_parameters() if parameter.grad is None]
        assert without == []


def test_rows_of_a_file_are_frozen_and_named(rows):
    system = make_system(text="class_prompts", text_width=7, text_weights=str(rows))
    check_encoder_weights(system)
    facts = next(facts for facts in weights_facts(system) if "text" in facts.name)
    assert not facts.trained
    assert facts.file == hashlib.sha256(rows.read_bytes()).hexdigest()[:16]
    torch.testing.assert_close(system.text(system.sentences).pooled, torch.from_numpy(np.load(rows)))
    without = make_system(text="class_prompts", text_width=7)
    with pytest.raises(
        ValueError, match=r"ClassPrompts .* random weights and is frozen.*--model\.system\.text_weights"
    ):
        check_encoder_weights(without)
    without.load_state_dict(system.state_dict())
    check_encoder_weights(without)  # a run holds its rows
    check_encoder_weights(make_system(text="class_prompts", text_width=7, train_encoders=True))


def test_a_training_starts_from_converted_weights(rows, tmp_path):
    network = make(drop_path=0.0)
    network.save(tmp_path / "w.safetensors")
    given = {"weights": str(tmp_path / "w.safetensors"), "text": "class_prompts", "text_width": 7}
    system = make_system(**given, text_weights=str(rows))
    assert torch.equal(system.network.decoder.logits.text.weight, network.decoder.logits.text.weight)
    with pytest.raises(DataError, match=r"it has expert AVEL and not SED\. Pass --model\.system\.expert AVEL"):
        make_system(**given, text_weights=str(rows), expert="SED")
    with pytest.raises(
        DataError, match=r"reads text features of width 7, and those of --model\.system\.text small have"
    ):
        make_system(weights=given["weights"])


def test_files_of_text_features_that_do_not_fit(rows, tmp_path):
    with pytest.raises(DataError, match=r"features \(3, 7\); the run has 4 classes and features of width 7"):
        read_class_features(rows, 4, 7)
    with pytest.raises(DataError, match=r"features of width 1536.*--model\.system\.text_width"):
        read_class_features(rows, 3, 1536)
    with pytest.raises(FileError, match=r"none\.npy"):
        read_class_features(tmp_path / "none.npy", 3, 7)
    np.save(tmp_path / "nan.npy", np.full((3, 7), np.nan, np.float32))
    with pytest.raises(FileError, match="text features that are not finite"):
        read_class_features(tmp_path / "nan.npy", 3, 7)


def test_the_authors_file_is_told_by_its_content(rows, monkeypatch):
    monkeypatch.setattr(prompts_module, "released_file", lambda what, address, advice, count: rows)
    with pytest.raises(FileError, match="is not the file that UniAV's authors publish"):
        ClassPrompts(class_sentences("AVEL", CLASSES), 7, "hub", EXPERTS["AVEL"])
    with commercial_only(wanted=True):
        ClassPrompts(class_sentences("AVEL", CLASSES), 7, str(rows), EXPERTS["AVEL"])
    monkeypatch.setattr(prompts_module, "CLASS_PROMPTS", "of nobody")
    with commercial_only(wanted=True), pytest.raises(LicenceError, match="of nobody"):
        ClassPrompts(class_sentences("AVEL", CLASSES), 7, str(rows), EXPERTS["AVEL"])


def test_the_authors_features_of_unav_100(real):
    path = real / "annotations" / "unav100" / "uniav_unav100_prompt.npy"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == EXPERTS["AVEL"].digest
    features = read_class_features(path, EXPERTS["AVEL"].classes, find_config("uniav")().text_width)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(100))
