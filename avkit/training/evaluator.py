# SPDX-License-Identifier: Apache-2.0
"""Official metrics of every task, for the model and for what it is compared with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torchmetrics import Metric

from avkit.batch import Batch, Prediction
from avkit.tasks.base import Baseline, Task


class Scoreboard:
    """One set of metrics per task and contestant.

    Args:
        tasks: Tasks by name.
        quick: Leave out metrics that are too slow to run after every epoch.
    """

    def __init__(self, tasks: Mapping[str, Task], quick: bool = False) -> None:
        self.tasks, self.quick = dict(tasks), quick
        self.metrics: dict[tuple[str, str], dict[str, Metric]] = {}
        self.clips: dict[str, int] = {}

    def update(self, prediction: Prediction, batch: Batch, contestant: str = "model") -> None:
        """Score one prediction; contestants other than the model get the quick metrics."""
        task = self.tasks[batch.task]
        made = self._metrics(batch.task, contestant)
        task.score({name: metric.to(batch.valid.device) for name, metric in made.items()}, prediction, batch)
        if contestant == "model":
            self.clips[batch.task] = self.clips.get(batch.task, 0) + len(batch)

    def compute(self, task: str, contestant: str = "model") -> dict[str, float]:
        """Figures by name; a metric that gives several puts its own name before theirs.

        With several processes all have to ask, also one that saw nothing of the task.
        """
        figures: dict[str, float] = {}
        scored = self._metrics(task, contestant) if contestant == "model" else self.metrics.get((task, contestant), {})
        for name, metric in scored.items():
            value = metric.compute()
            several = value if isinstance(value, Mapping) else {"": value}
            figures |= {f"{name} {key}".strip(): float(v) for key, v in several.items()}
        return figures

    def _metrics(self, task: str, contestant: str) -> dict[str, Metric]:
        key = (task, contestant)
        if key not in self.metrics:
            self.metrics[key] = self.tasks[task].metrics(self.quick or contestant != "model")
        return self.metrics[key]

    def contestants(self, task: str) -> list[str]:
        """Who was scored on a task."""
        return [who for name, who in self.metrics if name == task]

    def notes(self, task: str) -> dict[str, str]:
        """What a metric has to say about its figures, by figure."""
        notes: dict[str, str] = {}
        for metric in self.metrics.get((task, "model"), {}).values():
            notes |= getattr(metric, "notes", {})
        return notes


def fit_baselines(tasks: Mapping[str, Task], batches: Mapping[str, Sequence[Batch]]) -> dict[str, dict[str, Baseline]]:
    """Constant rules by task and name, counted over training batches."""
    return {name: task.baselines(batches[name]) for name, task in tasks.items()}


def silence(batch: Batch) -> Batch:
    """The same clips with nothing to hear."""
    return _with_sound(batch, torch.zeros_like)


def swap_sound(batch: Batch) -> Batch:
    """The same clips, each with the sound of the next one in the batch; a batch of one hears itself backwards."""
    return _with_sound(batch, lambda x: x.roll(1, 0) if len(x) > 1 else x.flip(1))


def _with_sound(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    waveform, audio = (change(x) if x is not None else None for x in (batch.waveform, batch.audio))
    return replace(batch, waveform=waveform, audio=audio)
