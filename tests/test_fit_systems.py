# SPDX-License-Identifier: Apache-2.0
"""Systems on features in runs: trained on scenes, started from converted weights, and their recipes read."""

import json
import math
from pathlib import Path

import pytest
import yaml

import avkit
from avkit.cli import main

CONFIGS = sorted((Path(__file__).parents[1] / "avkit" / "configs").glob("*.yaml"))
TINY = ["--data.scenes.val_size", "2", "--data.scenes.test_size", "2", "--data.scenes.train_size", "8"]
TINY += ["--data.loader.workers", "0"]
TINY += ["--data.steps_per_epoch", "2", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_recipes_name_options_that_there_are(config, capsys):
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config", str(config), "--data.root", "somewhere", "--print_config"])
    assert end.value.code == 0
    shown, given = yaml.safe_load(capsys.readouterr().out), yaml.safe_load(config.read_text())
    assert shown["model"]["system"]["name"] == given["model"]["system"]["name"]
    if "dataset" in given.get("data", {}):  # a file over another recipe, or of the built-in scenes, names none
        assert shown["data"]["dataset"] == given["data"]["dataset"]


def test_trained_exported_and_tested_again(tmp_path, monkeypatch, capsys):
    """What is trained on scenes goes to the authors' form and back, and then scores the same without a step."""
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--tasks", "avvp", "--model.system.name", "han", "--model.system.width", "16", *TINY]
    assert main([*words, "--name", "first", "--trainer.max_steps", "2"]) == 0
    from safetensors.torch import load_file

    from avkit.systems.han.network import HAN

    state = load_file("runs/first/checkpoints/last.safetensors")
    inside = {k.removeprefix("system.network."): v for k, v in state.items() if k.startswith("system.network.")}
    made = {"audio": inside["inputs.audio.weight"].shape[1], "frames": inside["inputs.frames.weight"].shape[1]}
    network = HAN.build(**made, motion=0, classes=len(inside["pooling.classes.bias"]), width=16)
    network.load_state_dict(inside)
    network.save("han.safetensors")
    assert (
        main([*words, "--name", "second", "--trainer.max_steps", "0", "--model.system.weights", "han.safetensors"]) == 0
    )
    assert Path("runs/second/checkpoints/last.ckpt").exists()
    rows = json.loads(Path("runs/second/report.json").read_text())["rows"]
    assert {row["task"] for row in rows} == {"avvp"}
    again = load_file("runs/second/checkpoints/last.safetensors")
    assert all((again[f"system.network.{k}"] == v).all() for k, v in inside.items())
    Path("han.safetensors").rename("moved.safetensors")  # what a run began with is not needed to open it
    assert avkit.load("runs/second", "cpu").tasks == ["avvp"]
    Path("moved.safetensors").rename("han.safetensors")
    capsys.readouterr()
    wrong = [*words, "--name", "third", "--model.system.heads", "2", "--model.system.weights", "han.safetensors"]
    assert main(wrong) == 2
    assert "heads 1 and not 2. Pass --model.system.heads 1." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tasks", "system", "options"),
    [
        ("davel", "ccnet", {"width": 8, "channels": 8, "inner": 4, "length": 64}),
        ("ave_weak", "psp", {"weak": "true", "attention_width": 8, "positions": 16}),
        ("avqa", "tspm", {"width": 16, "topk": 3, "patch_select": "index", "select_grad": "straight_through"}),
        ("avqa", "avst", {}),
        ("avqa", "pstp", {"width": 16, "fusion": "paper", "segments": 5, "topm": 4}),
        ("avs", "avsegformer", {"width": 32, "layers": 1, "audio_layers": 1, "queries": 4}),
        ("avs", "avsegformer", {"width": 32, "layers": 1, "audio_layers": 1, "queries": 4, "semantic": "true"}),
        ("avs", "tpavi", {"width": 16, "match": 0.5}),
        ("ssl", "ez_vsl", {"width": 16, "image_size": 32, "seconds": 0.2}),
        ("ssl", "lvs", {"image_size": 32, "seconds": 0.2}),
    ],
)
def test_systems_train_and_answer(tasks, system, options, tmp_path, monkeypatch):
    if tasks == "ssl":
        pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--tasks", tasks, "--model.system.name", system, *TINY, "--trainer.max_steps", "2"]
    words += [w for key, value in options.items() for w in (f"--model.system.{key}", str(value))]
    words += ["--data.batch_size.untrimmed", "2", "--data.batch_size.whole", "2", "--data.batch_size.trimmed", "2"]
    assert main([*words, "--name", "run"]) == 0
    rows = json.loads(Path("runs/run/report.json").read_text())["rows"]
    shown = [row for row in rows if tasks != "avqa" or row["metric"] == "Overall"]  # two questions are not of all types
    shown = [row for row in shown if not row["metric"].startswith("recall")]  # two videos lack events of some durations
    assert shown
    assert all(row["value"] is not None for row in shown)


@pytest.mark.parametrize(
    ("tasks", "system", "options"),
    [
        ("avs,avqa", "av_unified", []),
        ("avqa", "tspm", ["--model.system.width", "16", "--model.system.topk", "3"]),
        ("ssl", "lvs", ["--model.system.image_size", "32", "--model.system.seconds", "0.2"]),
        pytest.param("ra_ssu", "ssuformer", [], marks=pytest.mark.slow),
    ],
)
def test_systems_train_in_mixed_precision(tasks, system, options, tmp_path, monkeypatch):
    if tasks == "ssl":
        pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--tasks", tasks, "--model.system.name", system, *options, *TINY, "--data.batch_size.trimmed", "2"]
    words += ["--data.batch_size.whole", "2", "--trainer.max_steps", "2", "--trainer.precision", "bf16-mixed"]
    words += ["--report", "false"]
    assert main([*words, "--name", "run"]) == 0
    history = [json.loads(line) for line in Path("runs/run/history.jsonl").read_text().splitlines()]
    losses = [value for line in history for key, value in line.items() if key.endswith("/loss")]
    assert len(losses) >= 2
    assert all(map(math.isfinite, losses))
