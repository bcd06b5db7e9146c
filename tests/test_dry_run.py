# SPDX-License-Identifier: Apache-2.0
"""`avkit fit --dry_run` tells what a training needs, and does nothing else."""

from contextlib import nullcontext

import pytest
import torch
from test_fit import TINY
from torch import nn

from avkit.cli import main
from avkit.cli.dry_run import is_dry_run, without_dry_run
from avkit.training.dry_run import StepCost, StepProbe
from avkit.training.memory import least_memory, too_large
from avkit.training.schedule import fuses


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


@pytest.mark.parametrize(("needed", "free", "told"), [(2e9, 3e9, False), (4e9, 3e9, True), (4e9, None, False)])
def test_what_does_not_fit_is_told_by_figure(needed, free, told):
    text = too_large(needed, free, 1, least=True)
    assert (text is not None) == told
    if told:
        assert text.startswith("memory: weights, gradients and AdamW's state alone take 4.00 GB, and 3.00 GB are free.")


def test_processes_share_the_memory_of_a_machine():
    assert too_large(2e9, 3e9, 1, least=False) is None
    assert "the training takes 4.00 GB" in too_large(2e9, 3e9, 2, least=False)


def test_adamw_needs_sixteen_bytes_of_a_trained_parameter():
    assert least_memory(10, 4) == 16 * 4 + 4 * 6


def test_the_optimizer_that_is_measured_is_fused_as_that_of_a_training():
    system = nn.Linear(2, 2)
    for precision, fused in (("32-true", True), ("16-mixed", False)):
        probe = StepProbe(system, torch.device("cpu"), nullcontext, fused=fuses(precision))
        assert probe.optimizer.defaults["fused"] == fused


@pytest.mark.parametrize(("size", "measured"), [(3, [3]), (4, [4]), (16, [2, 4]), (32, [2, 4]), (128, [8, 16])])
def test_costs_grow_linearly_with_the_batch(size, measured, monkeypatch):
    """What is measured grows with the batch, so that what a line is off by is not multiplied by a hundred."""
    batches = []

    def measure(batch):
        batches.append(batch)
        return StepCost(100.0 + 10.0 * batch, 1.0 + 0.5 * batch)

    probe = StepProbe.__new__(StepProbe)
    probe.device = torch.device("meta")
    monkeypatch.setattr(probe, "_measured", measure, raising=False)
    assert probe.cost(lambda size: size, size) == StepCost(100.0 + 10.0 * size, 1.0 + 0.5 * size)
    assert batches == measured
