# SPDX-License-Identifier: Apache-2.0
"""A training step of the default system asks the device for no value, and what makes that so changes no figure."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from avkit.batch import Batch, StepRows
from avkit.datasets.scenes import Scenes
from avkit.errors import DivergedError
from avkit.heads.pyramid import level_targets
from avkit.nn.event_levels import EventLevel
from avkit.nn.losses import focal_loss, mask_loss
from avkit.nn.mask_losses import annotated, known_steps
from avkit.nn.padded_gru import read_padded
from avkit.nn.padding import scatter_steps, valid_rows
from avkit.training.finite_check import FiniteCheck, WatchedStep
from avkit.training.history import History
from avkit.training.module import AVModel

TASKS = "ave,ave_weak,avvp,ssl,avs,avqa,davel,ra_ssu"


@pytest.fixture
def scripts(monkeypatch):
    """The scripts that count questions and that make batches of clips of different length."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import host_reads
    import paired

    return SimpleNamespace(count=host_reads.count_step, batch=paired.make_batch, reads=host_reads.HostReads)


def test_no_task_of_the_default_system_asks_the_device(scripts):
    torch.manual_seed(0)
    model = AVModel(TASKS, Scenes("train", 1).vocabulary).train()
    for task in TASKS.split(","):
        batch = scripts.batch(task, 2, 24, 0)
        assert batch.rows.valid is not None
        found = scripts.count(model, batch)
        assert not found.reads, (task, found.reads)


def test_questions_to_the_device_are_counted(scripts):
    there = torch.arange(4.0)
    of_cpu = torch.arange(4.0)
    with scripts.reads([there]) as reads:
        bool((there > 1).all())
        there[there > 1].sum()
        there.nonzero()
        (there + 1).tolist()
        there[torch.tensor([0, 1])].sum()
        of_cpu[of_cpu > 1].tolist()
        bool(of_cpu.all())
    assert sorted(name for name, _ in reads.reads.elements()) == ["_local_scalar_dense", "index", "nonzero", "tolist"]


def steps(valid, known=None):
    """A batch of two clips of three steps."""
    targets = {} if known is None else {"mask_known": torch.tensor(known)}
    return Batch("avs", ["a", "b"], torch.tensor([3.0, 3.0]), 1.0, torch.tensor(valid), targets=targets)


ALL = [[True] * 3] * 2
SOME = [[True, True, False], [True, False, False]]


@pytest.mark.parametrize("valid", [ALL, SOME])
def test_known_rows_are_those_of_the_flags(valid):
    batch = steps(valid, [[True, False, True], [True, True, True]])
    counted = batch.with_rows()
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(annotated(x, counted), x[known_steps(batch)], rtol=0, atol=0)
    rows = valid_rows(x, batch.valid, counted.rows)
    torch.testing.assert_close(rows, valid_rows(x, batch.valid), rtol=0, atol=0)
    put = scatter_steps(rows, batch.valid, counted.rows)
    torch.testing.assert_close(put, scatter_steps(rows, batch.valid), rtol=0, atol=0)


def test_rows_go_with_the_batch_but_not_with_a_sample():
    batch = steps(SOME, ALL).with_rows()
    assert batch.to("meta").rows.valid.device.type == "meta"
    assert batch.sample(1).rows is None
    whole = steps(ALL, ALL).with_rows().rows
    assert whole == StepRows(None, None)


def test_a_gru_reads_rows_of_different_length_as_if_alone():
    torch.manual_seed(0)
    gru = nn.GRU(3, 2, batch_first=True, bidirectional=True)
    rows = torch.randn(3, 5, 3)
    lengths = torch.tensor([2, 5, 3])
    outputs = read_padded(gru, rows, lengths)
    assert outputs.shape == (3, 5, 4)
    for row, length, output in zip(rows, lengths.tolist(), outputs, strict=True):
        torch.testing.assert_close(output[:length], gru(row[None, :length])[0][0])
        assert not output[length:].any()


def test_losses_by_masks_are_those_of_the_chosen_rows():
    torch.manual_seed(0)
    logits = torch.randn(6, 5, requires_grad=True)
    target = torch.tensor([1, 0, 4, 0, 2, 0])
    chosen = logits[target != 0]
    torch.testing.assert_close(focal_loss(logits, target, 0, ignore=0), F.cross_entropy(chosen, target[target != 0]))
    focal_loss(logits, target, ignore=0).backward()
    assert logits.grad.isfinite().all()
    assert not logits.grad[target == 0].any()
    maps = torch.randn(3, 4, 4)
    masks = torch.zeros(3, 4, 4)
    masks[0, 1:3] = 1
    empty = mask_loss(maps, masks) - F.binary_cross_entropy_with_logits(maps, masks)
    torch.testing.assert_close(
        empty, mask_loss(maps[:1], masks[:1]) - F.binary_cross_entropy_with_logits(maps[:1], masks[:1])
    )


def test_a_point_without_an_event_has_no_target():
    valid = torch.tensor([[True, True, True, False]])
    level = EventLevel(torch.zeros(1, 4, 2), torch.zeros(1, 4, 2, 2), valid, 1)
    batch = Batch("davel", ["a"], torch.tensor([3.0]), 1.0, valid, targets={"events": [torch.tensor([[0.0, 2, 1]])]})
    target = level_targets(level, batch, first=True, last=True)
    torch.testing.assert_close(target[0, :2, 1], torch.tensor([[0.5, 1.5], [1.5, 0.5]]))
    assert target[0, 2:].isnan().all()
    assert target[0, :, 0].isnan().all()


def step_of(loss, number):
    return WatchedStep({"loss": loss, "mask": loss}, number, "avs", ["a"], 1e-3)


def test_a_loss_that_is_no_number_ends_training_at_once_on_a_cpu():
    check = FiniteCheck()
    check.watch(step_of(torch.tensor(1.0), 6))
    with pytest.raises(DivergedError, match=r"'avs' is not a finite number at step 7 \(loss nan, mask nan; clips a"):
        check.watch(step_of(torch.tensor(math.nan), 7))


def test_on_a_gpu_the_step_that_went_wrong_is_named_later(monkeypatch):
    check = FiniteCheck()
    monkeypatch.setattr(check, "watch", check._waiting.append)  # as where no loss is on the CPU
    for number, value in enumerate((1.0, math.inf, 1.0)):
        check.watch(step_of(torch.tensor(value), number))
    with pytest.raises(DivergedError, match="step 1 "):
        check.settle()
    check.settle()


def test_history_reads_numbers_of_a_gpu_together(tmp_path, monkeypatch):
    history = History(SimpleNamespace(history=tmp_path / "history.jsonl"))
    monkeypatch.setattr("avkit.training.history._is_elsewhere", lambda value: isinstance(value, torch.Tensor))
    for step in range(3):
        history._add({"step": step, "task": "avs", "loss": torch.tensor(0.5 + step), "mask": torch.tensor(0.25)})
    assert not history.lines
    history._write_lines()
    rows = [json.loads(line) for line in history.path.read_text().splitlines()]
    assert rows == [{"step": step, "task": "avs", "loss": 0.5 + step, "mask": 0.25} for step in range(3)]
