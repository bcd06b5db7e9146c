# SPDX-License-Identifier: Apache-2.0
"""Damaged run folders: one line that names the file and says what to do; runs of before and after are read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from clips import tone, write_clip
from safetensors.torch import load_file, save_file

import avkit
from avkit.cli import main

TINY = [
    *("--trainer.max_steps", "2", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"),
    *("--data.batch_size.trimmed", "2", "--data.batch_size.whole", "2", "--data.loader.workers", "0"),
    *("--data.scenes.val_size", "2", "--data.scenes.test_size", "2", "--data.image_size", "32"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    words = ["fit", "--tasks", "avs,avqa,ra_ssu", "--out", str(out), "--name", "run", "--report", "false"]
    assert main([*words, *TINY]) == 0
    return out / "run"


@pytest.fixture
def run(whole, tmp_path, monkeypatch):
    """A copy of the run beside a clip."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole, "run")
    write_clip("clip.mp4", [0, 0.2, 0.4, 0.6, 0.8], fps=5, sound=tone(1, 16_000))
    return Path("run")


def change_facts(run, change):
    facts = json.loads((run / "run.json").read_text())
    change(facts)
    (run / "run.json").write_text(json.dumps(facts))


def change_config(run, change):
    config = yaml.safe_load((run / "config.yaml").read_text())
    change(config)
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def weights_of(run):
    return next(path for path in (run / "checkpoints").glob("*.safetensors"))


def change_weights(run, change):
    for path in (run / "checkpoints").glob("*.safetensors"):
        state = load_file(path)
        change(state)
        save_file(state, path)


def cut(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def with_nan(state):
    state[min(state)] = state[min(state)] * torch.nan


DAMAGE = {
    "no folder": (lambda run: shutil.rmtree(run), "run"),
    "no run.json": (lambda run: (run / "run.json").unlink(), "run.json is missing"),
    "no config": (lambda run: (run / "config.yaml").unlink(), "config.yaml is missing"),
    "no weights": (lambda run: shutil.rmtree(run / "checkpoints"), "no checkpoints/best.safetensors"),
    "cut run.json": (lambda run: cut(run / "run.json"), "run.json"),
    "empty run.json": (lambda run: (run / "run.json").write_text(""), "run.json"),
    "list in run.json": (lambda run: (run / "run.json").write_text("[]"), "run.json"),
    "facts missing": (lambda run: change_facts(run, lambda facts: facts.pop("vocabulary")), "does not say vocabulary"),
    "facts of another kind": (lambda run: change_facts(run, lambda f: f.update(vocabulary=3)), "describe no model"),
    "newer format": (lambda run: change_facts(run, lambda facts: facts.update(format=99)), "format 99"),
    "cut config": (lambda run: cut(run / "config.yaml", 0.01), "config.yaml"),
    "empty config": (lambda run: (run / "config.yaml").write_text(""), "no section 'model'"),
    "config of another system": (
        lambda run: change_config(run, lambda config: config["model"]["system"].update(width=48)),
        "does not fit run/config.yaml",
    ),
    "cut weights": (lambda run: [cut(path) for path in (run / "checkpoints").glob("*.safetensors")], ".safetensors"),
    "no tensors": (lambda run: change_weights(run, dict.clear), "missing"),
    "a tensor missing": (lambda run: change_weights(run, lambda state: state.pop(min(state))), "1 missing"),
    "NaN": (lambda run: change_weights(run, with_nan), "holds NaN or infinite numbers in 1 of"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_runs_are_named(run, capsys, damage):
    change, message = DAMAGE[damage]
    change(run)
    assert main(["predict", str(run), "clip.mp4", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1, "one line"
    assert "Traceback" not in error
    assert not Path("predictions").exists()


def test_scenes_say_that_they_are_drawn(run, capsys):
    words = ["predict", str(run), "clip.mp4", "--device", "cpu", "--question", "is there a dog?"]
    assert main(words) == 0
    warning = "This run has seen only drawn shapes"
    assert f"warning: {warning}" in capsys.readouterr().out
    result = json.loads(Path("predictions/clip/result.json").read_text())
    assert result["warning"].startswith(warning)
    assert result["domains"] == {"ra_ssu": "scenes", "avs": "scenes", "avqa": "scenes"}
    assert warning in Path("predictions/clip/report.html").read_text()
    assert result["answers"][0]["answer"] in ("yes", "no")
    assert result["answers"][0]["kept_to"] == "yes or no"
    assert main([*words[:5], "--stream", "--tasks", "avs"]) == 0
    assert f"warning: {warning}" in capsys.readouterr().out
    line = json.loads(Path("predictions/clip-2/stream.jsonl").read_text().splitlines()[0])
    assert line["warning"].startswith(warning)


def test_every_frame_is_marked(run):
    from avkit.report.overlay import step_layer

    predictor = avkit.load(run, device="cpu")
    result = predictor.predict("clip.mp4", ["avs"])
    assert result.short_warning == "trained on drawn shapes"
    frame = np.zeros((120, 160, 3), np.uint8)
    marked = step_layer(result, 0, (120, 160)).over(frame)
    result.short_warning = ""
    plain = step_layer(result, 0, (120, 160)).over(frame)
    assert (marked[:40] != plain[:40]).any()


def test_index_and_search_say_it_too(run, capsys):
    assert main(["index", str(run), "clip.mp4", "--device", "cpu"]) == 0
    assert "warning: This run has seen only drawn shapes" in capsys.readouterr().out
    main(["search", "index", "a red bell rings on the left", "--json", "--show", "hits.html"])
    captured = capsys.readouterr()
    assert "warning: This run has seen only drawn shapes" in captured.err
    assert all(hit["warning"] for hit in json.loads(captured.out))


def test_runs_without_a_domain(run):
    change_facts(run, lambda facts: facts.pop("domains"))
    assert avkit.load(run, device="cpu").domains == {"ra_ssu": "scenes", "avs": "scenes", "avqa": "scenes"}
    change_facts(run, lambda facts: facts.update(dataset="music-avqa+scenes"))
    assert avkit.load(run, device="cpu").domains == {}, "which task had which dataset is not known"
    change_facts(run, lambda facts: facts.update(domains={"avs": "own", "avqa": "scenes", "ra_ssu": "own"}))
    predictor = avkit.load(run, device="cpu")
    assert predictor.warning(["avs"]) == ""
    assert predictor.warning(["avs", "avqa"]).startswith("The tasks avqa of this run have seen only drawn shapes")


def test_exported_scenes_are_drawn_too(tmp_path, monkeypatch):
    from avkit.training.domain import domains_of

    monkeypatch.chdir(tmp_path)
    assert (
        main(["scenes", "export", "--layout", "ave", "--out", "ave", "--train", "1", "--val", "1", "--test", "1"]) == 0
    )
    assert domains_of({"ave": "ave"}, Path("ave"), None) == {"ave": "scenes"}
    assert domains_of({"ave": "ave"}, Path("elsewhere"), None) == {"ave": "official"}
    assert domains_of({"ave": "manifest"}, None, Path("mine/m.jsonl")) == {"ave": "own"}
    assert domains_of({"ave": "package.module:Class", "avs": "scenes"}, None, None) == {"ave": "own", "avs": "scenes"}


def test_answers_may_be_of_any_kind_where_wanted(run):
    predictor = avkit.load(run, device="cpu")
    question = "how many things are seen"
    kept = predictor.predict("clip.mp4", ["avqa"], question).answers[0]
    assert kept.answer in ("zero", "one", "two", "three", "four")
    predictor.any_answer = True
    free = predictor.predict("clip.mp4", ["avqa"], question).answers[0]
    assert free.answer_kind == ""
    assert set(free.scores) != set(kept.scores)
