# SPDX-License-Identifier: Apache-2.0
"""Official metrics of every task, for the model and for what it is compared with."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torchmetrics import Metric

from avkit.batch import Batch, Prediction
from avkit.metrics.base import ScoreMetric
from avkit.metrics.intervals import ScoreRow
from avkit.tasks.base import Baseline, Task

#: The contestant whose scores are the run's; others are baselines, and the model with silent or swapped audio.
MODEL = "model"


class Evaluator:
    """Scores predictions with one set of metrics per benchmark and contestant.

    A benchmark is a task, or a task on one of its datasets where it has several; these are never scored together.

    Args:
        tasks: Tasks by name of their benchmark.
        quick: Leave out metrics that are too slow to run after every epoch.
        alone: Score what this process has; else scores are of all processes together.
    """

    def __init__(self, tasks: Mapping[str, Task], *, quick: bool = False, alone: bool = False) -> None:
        self.tasks = dict(tasks)
        self.quick = quick
        self.alone = alone
        self.metrics: dict[tuple[str, str], dict[str, Metric]] = {}
        #: Samples that the model was scored on, by benchmark.
        self.clips: dict[str, int] = {}
        self._rows: dict[tuple[str, str], dict[str, ScoreRow]] = {}
        #: Digest of the names of these samples in order, by benchmark.
        self._digests = dict.fromkeys(tasks, "")

    def update(self, prediction: Prediction, batch: Batch, contestant: str = MODEL) -> None:
        """Score one prediction. Contestants other than the model get the quick metrics only."""
        metrics = self._metrics(batch.benchmark, contestant)
        self._rows.pop((batch.benchmark, contestant), None)
        on_device = {name: metric.to(batch.valid.device) for name, metric in metrics.items()}
        self.tasks[batch.benchmark].score(on_device, prediction, batch)
        if contestant == MODEL:
            self.clips[batch.benchmark] = self.clips.get(batch.benchmark, 0) + len(batch)
            for name in batch.id:
                text = f"{self._digests[batch.benchmark]} {name}"
                self._digests[batch.benchmark] = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def compute(self, task: str, contestant: str = MODEL) -> dict[str, float]:
        """Scores by name. A metric that returns several puts its own name before theirs.

        With several processes all must call it, even one that has scored nothing of the task.
        """
        if contestant == MODEL:
            self._metrics(task, contestant)
        scores: dict[str, float] = {}
        for name, metric in self.metrics.get((task, contestant), {}).items():
            for part, score in _parts(metric).items():
                scores[f"{name} {part}".strip()] = score
        return scores

    def compute_rows(self, task: str, contestant: str = MODEL) -> dict[str, ScoreRow]:
        """As `compute`, each score with what it counts and its 95 % interval, which only metrics of avkit give."""
        if (task, contestant) not in self._rows:
            self._rows[task, contestant] = self._compute_rows(task, contestant)
        return self._rows[task, contestant]

    def _compute_rows(self, task: str, contestant: str) -> dict[str, ScoreRow]:
        if contestant == MODEL:
            self._metrics(task, contestant)
        rows: dict[str, ScoreRow] = {}
        for name, metric in self.metrics.get((task, contestant), {}).items():
            if isinstance(metric, ScoreMetric):
                parts = metric.compute_rows()
            else:
                parts = {part: ScoreRow(score, 0, counted="") for part, score in _parts(metric).items()}
            for part, row in parts.items():
                rows[f"{name} {part}".strip()] = row
        return rows

    def clips_digest(self, task: str) -> str:
        """What tells whether two runs were scored on the same samples: their number, and a digest of their names."""
        return f"{self.clips.get(task, 0)} {self._digests[task]}"

    def contestants(self, task: str) -> list[str]:
        """Who was scored on a task."""
        return [contestant for name, contestant in self.metrics if name == task]

    def notes(self, task: str) -> dict[str, str]:
        """Remarks of the metrics on the model's scores, by score."""
        notes: dict[str, str] = {}
        for metric in self.metrics.get((task, MODEL), {}).values():
            notes |= getattr(metric, "notes", {})
        return notes

    def _metrics(self, task: str, contestant: str) -> dict[str, Metric]:
        key = (task, contestant)
        if key not in self.metrics:
            self.metrics[key] = self.tasks[task].metrics(self.quick or contestant != MODEL)
            if self.alone:
                for metric in self.metrics[key].values():
                    metric.distributed_available_fn = _never
        return self.metrics[key]


def _never() -> bool:
    """That no other process has a part of the data."""
    return False


def _parts(metric: Metric) -> dict[str, float]:
    """The scores of a metric by name, `""` for the only one."""
    value = metric.compute()
    parts = value if isinstance(value, Mapping) else {"": value}
    return {part: float(score) for part, score in parts.items()}


def fit_baselines(tasks: Mapping[str, Task], batches: Mapping[str, Sequence[Batch]]) -> dict[str, dict[str, Baseline]]:
    """Constant rules by task and name, counted over training batches."""
    return {name: task.baselines(batches[name]) for name, task in tasks.items()}


def silence(batch: Batch) -> Batch:
    """The same clips with silent audio."""
    return _with_audio(batch, torch.zeros_like)


def swap_audio(batch: Batch) -> Batch:
    """The same clips, each with the audio of the next clip of the batch; in a batch of one it is reversed in time."""
    return _with_audio(batch, _roll)


def _roll(audio: Tensor) -> Tensor:
    if len(audio) > 1:
        return audio.roll(1, 0)
    return audio.flip(1)


def _with_audio(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    return replace(
        batch,
        waveform=None if batch.waveform is None else change(batch.waveform),
        audio=None if batch.audio is None else change(batch.audio),
    )
