# SPDX-License-Identifier: Apache-2.0
"""No run trains on a frozen random encoder, and every run says what its encoders began with."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from avkit.batch import FeatureWidths, Vocabulary
from avkit.cli import main
from avkit.encoders import build_audio_encoder
from avkit.encoders.base import AudioEncoder, TextEncoder, TextFeatures, VisualEncoder, VisualFeatures
from avkit.encoders.pretrained import load_weights
from avkit.encoders.registry import ENCODERS, EncoderEntry
from avkit.systems import create_system, list_systems
from avkit.systems.base import RunContext
from avkit.systems.encoder_weights import check_encoder_weights, encoders_in, weights_facts
from avkit.tasks import build_tasks

TINY = ["--data.steps_per_epoch", "2", "--data.scenes.val_size", "2", "--data.scenes.test_size", "2"]
TINY += ["--trainer.max_epochs", "1", "--data.loader.workers", "0"]


class Visual(VisualEncoder):
    """A visual encoder of a pretrained kind."""

    def __init__(self, pretrained=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 8, 8)
        self.width = 8
        self.pyramid_widths = [8]
        self.pyramid_includes_patches = True
        if pretrained:
            load_weights(self, pretrained)

    def forward(self, frames):
        maps = self.conv(frames.float() / 255)
        patches = maps.flatten(2).transpose(1, 2)
        return VisualFeatures(patches.mean(1), patches, (maps.shape[2], maps.shape[3]), [maps])


class Audio(AudioEncoder):
    """An audio encoder of a pretrained kind."""

    def __init__(self, pretrained=None):
        super().__init__()
        self.out = nn.Linear(1, 8)
        self.width = 8
        if pretrained:
            load_weights(self, pretrained)

    def forward(self, waveform, steps, hop):
        return self.out(waveform[:, :steps, None])


class Text(TextEncoder):
    """A text encoder of a pretrained kind."""

    def __init__(self, pretrained=None):
        super().__init__()
        self.row = nn.Parameter(torch.ones(1, 1, 8))
        self.width = 8
        if pretrained:
            load_weights(self, pretrained)

    def forward(self, texts):
        tokens = self.row.expand(len(texts), 1, 8)
        return TextFeatures(tokens, torch.ones(len(texts), 1, dtype=torch.bool), tokens[:, 0])


CLASSES = {"visual": Visual, "audio": Audio, "text": Text}


@pytest.fixture(autouse=True)
def pretrained_kinds(monkeypatch):
    for kind, cls in CLASSES.items():
        monkeypatch.setitem(ENCODERS[kind], "kind", EncoderEntry(f"{__name__}:{cls.__name__}"))


def context_of(task):
    vocabulary = Vocabulary(["dog", "bell"], ["yes", "no"], ["a", "dog"])
    features = {task: FeatureWidths()}
    return RunContext(build_tasks([task], vocabulary), vocabulary, features, prompts={task: "a dog"})


#: Systems with encoders whose weights are asked for, each with a task, options, and the names of its encoders.
SYSTEMS = [
    ("av_unified", "ave", {}, ("visual", "audio", "text")),
    ("ccnet", "davel", {}, ("visual", "audio")),
    ("unav", "davel", {}, ("visual", "audio")),
    ("uniav", "davel", {}, ("visual", "audio", "text")),
    ("actionformer", "davel", {}, ("visual", "audio")),
    ("tadtr", "davel", {}, ("visual", "audio")),
    ("han", "avvp", {}, ("visual", "audio")),
    ("mm_pyramid", "avvp", {}, ("visual", "audio")),
    ("avel", "ave", {}, ("visual", "audio")),
    ("psp", "ave", {}, ("visual", "audio")),
    ("tspm", "avqa", {"width": 16}, ("visual", "audio", "text")),
    ("avst", "avqa", {}, ("visual", "audio")),
    ("pstp", "avqa", {"width": 16, "segments": 5, "topm": 4}, ("visual", "audio", "text")),
    ("avsegformer", "avs", {"width": 32, "layers": 1, "audio_layers": 1, "queries": 4}, ("audio",)),
    ("tpavi", "avs", {"width": 16}, ("audio",)),
    ("ssuformer", "ra_ssu", {"width": 32, "rcc": False}, ("audio", "region")),
]


def test_all_systems_with_encoders_are_here():
    # EZ-VSL and LVS train both streams, and have a prior with weights or none; zero_shot is not trained
    without = {"ez_vsl", "lvs", "zero_shot"}
    assert {row[0] for row in SYSTEMS} | without == set(list_systems())


@pytest.mark.parametrize(
    ("system", "task", "options", "kind"),
    [(*row[:3], kind) for row in SYSTEMS for kind in row[3]],
)
def test_random_frozen_encoders_are_refused(system, task, options, kind, tmp_path):
    given = {**options, kind: "kind"}
    made = create_system(system, context_of(task), **given)
    with pytest.raises(ValueError, match=rf"random weights and is frozen.*--model\.system\.{kind}_weights"):
        check_encoder_weights(made)

    weights = tmp_path / "weights.pt"
    torch.save(CLASSES["visual" if kind == "region" else kind]().state_dict(), weights)
    loaded = create_system(system, context_of(task), **given, **{f"{kind}_weights": str(weights)})
    check_encoder_weights(loaded)
    facts = next(facts for facts in weights_facts(loaded) if kind in facts.name)
    assert not facts.trained
    assert facts.weights == str(weights)
    assert facts.file == hashlib.sha256(weights.read_bytes()).hexdigest()[:16]

    made.load_state_dict(loaded.state_dict())
    check_encoder_weights(made)  # the state of a run holds the encoders
    again = next(facts for facts in weights_facts(made) if kind in facts.name)
    assert again.weights == "a checkpoint"
    assert again.state == facts.state


@pytest.mark.parametrize("row", [row for row in SYSTEMS if row[0] not in ("avsegformer", "tpavi", "ssuformer")])
def test_trained_encoders_may_be_random(row):
    system, task, options, kinds = row
    made = create_system(system, context_of(task), **options, **dict.fromkeys(kinds, "kind"), train_encoders=True)
    check_encoder_weights(made)
    assert all(facts.trained and facts.weights == "random" for facts in weights_facts(made))


def test_encoder_of_an_outside_system_counts():
    class Outside(nn.Module):
        def __init__(self):
            super().__init__()
            self.eyes = Visual().requires_grad_(False)

    assert list(encoders_in(Outside())) == ["eyes"]


def test_weights_of_the_registry(tmp_path):
    assert build_audio_encoder("kind").weights_from is None
    torch.save(Audio().state_dict(), tmp_path / "w.pt")
    assert build_audio_encoder("kind", str(tmp_path / "w.pt")).weights_from == str(tmp_path / "w.pt")


def test_fit_refuses_before_it_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--tasks", "ave", *TINY, "--name", "run", "--model.system.visual", "kind"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "--model.system.visual_weights with 'hub' or a path, or --model.system.train_encoders true" in error
    assert "Traceback" not in error
    assert not Path("runs").exists()


@pytest.mark.slow
def test_report_and_facts_name_the_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(Visual().state_dict(), "w.pt")
    words = ["fit", "--tasks", "ave", *TINY, "--name", "run", "--model.system.visual", "kind"]
    assert main([*words, "--model.system.visual_weights", "w.pt"]) == 0
    weights = {facts["name"]: facts for facts in json.loads(Path("runs/run/run.json").read_text())["weights"]}
    digest = hashlib.sha256(Path("w.pt").read_bytes()).hexdigest()[:16]
    assert weights["visual"]["weights"] == "w.pt"
    assert weights["visual"]["file"] == digest
    assert weights["audio"]["weights"] == "random"
    report = json.loads(Path("runs/run/report.json").read_text())
    line = report["facts"]["model"]["weights of visual"]
    assert line == f"Visual, 1,544 parameters, frozen, loaded from w.pt, file sha256 {digest}"
    assert "trained, random at first" in report["facts"]["model"]["weights of audio"]
    assert digest in Path("runs/run/report.html").read_text()
    # a run that goes on has its encoders in the checkpoint
    assert main([*words, "--ckpt_path", "last", "--trainer.max_epochs", "2"]) == 0
