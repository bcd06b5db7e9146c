# SPDX-License-Identifier: Apache-2.0
"""Official metrics of every task, for the model and for what it is compared with."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torchmetrics import Metric

from avkit.batch import Batch, Prediction
from avkit.metrics.base import ScoreMetric
from avkit.metrics.intervals import ScoreRow
from avkit.metrics.states import PackedStates, States, add_states, added_states, pack_states, unpack_states
from avkit.tasks.base import Baseline, Task

#: The contestant whose scores are the run's; others are baselines, and the model with silent or swapped audio.
MODEL = "model"


@dataclass
class BatchScores:
    """What a batch adds to the scores of a contestant.

    Attributes:
        benchmark: Name of the benchmark.
        contestant: Who was scored.
        samples: Names of the samples.
        states: By metric.
        packed: The same as they are sent to another process.
    """

    benchmark: str
    contestant: str
    samples: list[str]
    states: dict[str, States]
    packed: dict[str, PackedStates] = field(default_factory=dict)

    def pack(self) -> None:
        """Make ready to be sent."""
        self.packed = {name: pack_states(states) for name, states in self.states.items()}
        self.states = {}


class Evaluator:
    """Scores predictions with one set of metrics per benchmark and contestant.

    A benchmark is a task, or a task on one of its datasets where it has several; these are never scored together.

    Args:
        tasks: Tasks by name of their benchmark.
        quick: Leave out metrics that are too slow to run after every epoch.
    """

    def __init__(self, tasks: Mapping[str, Task], *, quick: bool = False) -> None:
        self.tasks = dict(tasks)
        self.quick = quick
        self.metrics: dict[tuple[str, str], dict[str, Metric]] = {}
        #: Samples that the model was scored on, by benchmark.
        self.clips: dict[str, int] = {}
        self._rows: dict[tuple[str, str], dict[str, ScoreRow]] = {}
        #: Digest of the names of these samples in order, by benchmark.
        self._digests = dict.fromkeys(tasks, "")

    def update(self, prediction: Prediction, batch: Batch, contestant: str = MODEL) -> None:
        """Score one prediction. Contestants other than the model get the quick metrics only."""
        self.add(self.measure(prediction, batch, contestant))

    def measure(self, prediction: Prediction, batch: Batch, contestant: str = MODEL) -> BatchScores:
        """What `update` would add to the scores, which stay as they are; `add` adds it, perhaps in another process."""
        metrics = self._metrics(batch.benchmark, contestant)
        on_device = {name: metric.to(batch.valid.device) for name, metric in metrics.items()}
        with ExitStack() as stack:
            states = {name: stack.enter_context(added_states(metric)) for name, metric in on_device.items()}
            self.tasks[batch.benchmark].score(on_device, prediction, batch)
        return BatchScores(batch.benchmark, contestant, list(batch.id), states)

    def add(self, scores: BatchScores) -> None:
        """Add the scores of a batch."""
        benchmark = scores.benchmark
        self._rows.pop((benchmark, scores.contestant), None)
        for name, metric in self._metrics(benchmark, scores.contestant).items():
            if name in scores.packed:
                add_states(metric, unpack_states(scores.packed[name], metric.device))
            else:
                add_states(metric, scores.states[name])
        if scores.contestant == MODEL:
            self.clips[benchmark] = self.clips.get(benchmark, 0) + len(scores.samples)
            for sample in scores.samples:
                text = f"{self._digests[benchmark]} {sample}"
                self._digests[benchmark] = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def compute(self, task: str, contestant: str = MODEL) -> dict[str, float]:
        """Scores by name. A metric that returns several puts its own name before theirs."""
        if contestant == MODEL:
            self._metrics(task, contestant)
        scores: dict[str, float] = {}
        for name, metric in self._scored_metrics(task, contestant):
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
        for name, metric in self._scored_metrics(task, contestant):
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

    def _scored_metrics(self, task: str, contestant: str) -> list[tuple[str, Metric]]:
        """The metrics by name, without those that say nothing where they had nothing to score."""
        metrics = []
        for name, metric in self.metrics.get((task, contestant), {}).items():
            omitted = isinstance(metric, ScoreMetric) and metric.omitted_without_data and not len(metric.units())
            if not omitted:
                metrics.append((name, metric))
        return metrics

    def _metrics(self, task: str, contestant: str) -> dict[str, Metric]:
        key = (task, contestant)
        if key not in self.metrics:
            self.metrics[key] = self.tasks[task].metrics(self.quick or contestant != MODEL)
            for metric in self.metrics[key].values():
                metric.distributed_available_fn = _never
        return self.metrics[key]


def _never() -> bool:
    """That no other process has a part of the scores: they are brought together batch by batch."""
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
