# SPDX-License-Identifier: Apache-2.0
"""Tasks, datasets and systems from outside avkit, given as `package.module:Class`."""

import json

import pytest
from test_fit import TINY

from avkit.cli import main
from avkit.training.run_folder import RunFolder

TASK = "outside_parts:OwnSegmentation"


def fit(out, *words):
    return main(["fit", "--out", str(out), *TINY, "--trainer.max_epochs", "1", "--data.steps_per_epoch", "2", *words])


def test_a_task_is_trained_tested_and_resumed(tmp_path):
    assert fit(tmp_path, "--tasks", f"avqa,{TASK}") == 0
    run = RunFolder(tmp_path / "avqa-outside_parts.OwnSegmentation-scenes")
    assert run.read_facts()["tasks"] == ["avqa", TASK]
    rows = json.loads((run.path / "report.json").read_text())["rows"]
    assert {row["task"] for row in rows} == {"avqa", TASK}
    assert main(["test", str(run.path), "--trust"]) == 0
    again = ["--tasks", f"avqa,{TASK}", "--ckpt_path", "last", "--trainer.max_epochs", "2", "--report", "false"]
    assert fit(tmp_path, *again) == 0


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("outside_parts:Segmentatoin", "Cannot load task 'outside_parts:Segmentatoin'"),
        ("no_such_package:Task", "must be installed or in the folder that avkit is started from"),
    ],
)
def test_a_task_that_is_not_there(tmp_path, capsys, task, message):
    assert fit(tmp_path, "--tasks", task) == 2
    assert message in capsys.readouterr().err


def test_a_task_without_a_usual_dataset_needs_a_name(tmp_path, capsys):
    assert fit(tmp_path, "--tasks", TASK, "--data.root", str(tmp_path)) == 2
    assert f"Name one with --data.dataset {TASK}=NAME" in capsys.readouterr().err


def test_a_dataset_is_trained_on_and_tested(tmp_path):
    words = ["--tasks", "avs,avqa", "--data.dataset", "avs=outside_parts:OwnClips,avqa=scenes"]
    assert fit(tmp_path, *words, "--name", "run") == 0
    rows = json.loads((tmp_path / "run" / "report.json").read_text())["rows"]
    assert {(row["task"], row["dataset"]) for row in rows} == {("avs", "outside_parts:OwnClips"), ("avqa", "scenes")}
    assert RunFolder(tmp_path / "run").read_facts()["dataset"] == "outside_parts:OwnClips+scenes"


def test_a_task_brings_its_usual_dataset(tmp_path):
    words = ["--tasks", "outside_parts:BenchmarkedSegmentation", "--data.root", str(tmp_path), "--report", "false"]
    assert fit(tmp_path, *words, "--name", "run") == 0
    assert RunFolder(tmp_path / "run").read_facts()["dataset"] == "outside_parts:OwnClips"


def test_a_dataset_that_is_not_there(tmp_path, capsys):
    assert fit(tmp_path, "--tasks", "avs", "--data.dataset", "outside_parts:OwnClip") == 2
    assert "Cannot load dataset 'outside_parts:OwnClip'" in capsys.readouterr().err
