# SPDX-License-Identifier: Apache-2.0
"""`avkit fit --dry_run` tells what a training needs, and does nothing else."""

import pytest
from test_fit import TINY

from avkit.cli import main
from avkit.cli.dry_run import is_dry_run, without_dry_run
from avkit.training.dry_run import StepCost, StepProbe


def test_it_tells_parameters_memory_and_time_and_writes_nothing(tmp_path, capsys):
    words = ["--tasks", "avs,ave", *TINY, "--out", str(tmp_path), "--data.batch_size.trimmed", "8", "--dry_run"]
    assert main(["fit", *words]) == 0
    output = capsys.readouterr().out
    assert "parameters" in output
    assert "GB of a process at its peak" in output
    assert "for 10 batches of" in output
    assert output.count(" 8  ") == 2, "clips of both tasks"
    assert not list(tmp_path.iterdir())


def test_it_refuses_what_a_training_would(tmp_path, capsys):
    words = ["--tasks", "avs", *TINY, "--out", str(tmp_path), "--trainer.devices", "3", "--dry_run", "true"]
    assert main(["fit", *words]) == 2
    assert "3 processes cannot share so few clips" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "asked", "rest"),
    [
        (["--tasks", "avs"], False, ["--tasks", "avs"]),
        (["--dry_run", "--tasks", "avs"], True, ["--tasks", "avs"]),
        (["--tasks", "avs", "--dry_run", "true"], True, ["--tasks", "avs"]),
        (["--dry_run=true", "--report", "false"], True, ["--report", "false"]),
        (["--dry_run", "false", "--report", "true"], False, ["--report", "true"]),
    ],
)
def test_the_switch_is_read(words, asked, rest):
    assert is_dry_run(words) is asked
    assert without_dry_run(words) == rest


def test_costs_grow_linearly_with_the_batch(monkeypatch):
    probe = StepProbe.__new__(StepProbe)
    monkeypatch.setattr(
        probe, "_measured", lambda batch: StepCost(100.0 + 10.0 * batch, 1.0 + 0.5 * batch), raising=False
    )
    assert probe.cost(lambda size: size, 16) == StepCost(260.0, 9.0)
    assert probe.cost(lambda size: size, 3) == StepCost(130.0, 2.5)
