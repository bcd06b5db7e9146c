# SPDX-License-Identifier: Apache-2.0
"""Which samples of a test are answered worst and best, found while they are tested."""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from avkit.batch import Batch, Prediction
from avkit.tasks.base import Task
from avkit.training.evaluator import Evaluator


@dataclass(frozen=True, order=True)
class RankedSample:
    """A sample with the score by which its task is judged, of this sample alone.

    Attributes:
        score: The score.
        number: Number of the sample in the dataset of its task; of equal scores the lower number counts as worse.
        rank: Its place among all, in words, such as `worst` or `2nd best`.
    """

    score: float
    number: int
    rank: str = ""


class SampleRanking:
    """Keeps the few worst and best samples of each benchmark; memory does not grow with the test set.

    Samples without a score, such as clips in which nothing is to be found, take no part.

    Args:
        tasks: Tasks by name of their benchmark.
        worst: How many of the worst samples of a benchmark are kept.
        best: How many of the best.
    """

    def __init__(self, tasks: Mapping[str, Task], worst: int, best: int) -> None:
        self.tasks = tasks
        self.worst = worst
        self.best = best
        self._lowest: dict[str, list[RankedSample]] = {name: [] for name in tasks}
        self._highest: dict[str, list[RankedSample]] = {name: [] for name in tasks}
        self._counts = dict.fromkeys(tasks, 0)

    def update(self, prediction: Prediction, batch: Batch) -> None:
        """Rank the samples of a batch."""
        self.add(batch.benchmark, self.measure(prediction, batch))

    def measure(self, prediction: Prediction, batch: Batch) -> list[RankedSample]:
        """The samples of a batch with their scores; samples of no dataset are left out."""
        if batch.places is None:
            return []
        samples = []
        for row in range(len(batch)):
            sample = batch.sample(row)
            score = self._score(prediction.sample(row), sample)
            if not math.isnan(score) and sample.places is not None:
                samples.append(RankedSample(score, sample.places[0]))
        return samples

    def _score(self, prediction: Prediction, batch: Batch) -> float:
        """The score by which the task is judged, of one sample alone; NaN where it has none."""
        task = self.tasks[batch.benchmark]
        evaluator = Evaluator({batch.benchmark: task}, quick=True)
        evaluator.update(prediction, batch)
        return evaluator.compute(batch.benchmark).get(task.monitor, math.nan)

    def add(self, task: str, samples: Sequence[RankedSample]) -> None:
        """Rank samples with their scores."""
        self._counts[task] += len(samples)
        self._lowest[task] = heapq.nsmallest(self.worst, [*self._lowest[task], *samples])
        self._highest[task] = heapq.nlargest(self.best, [*self._highest[task], *samples])

    def count(self, task: str) -> int:
        """Samples of a task that were ranked."""
        return self._counts[task]

    def chosen(self, task: str) -> list[RankedSample]:
        """The worst samples, the worst first, then the best, the best last; none twice."""
        worst = self._lowest[task]
        best = [sample for sample in self._highest[task] if sample not in worst]
        ranked = [replace(sample, rank=_place(k, "worst")) for k, sample in enumerate(worst, 1)]
        ranked += [replace(sample, rank=_place(k, "best")) for k, sample in enumerate(best, 1)][::-1]
        return ranked


def _place(number: int, end: str) -> str:
    """Such as `worst` and `3rd best`."""
    if number == 1:
        return end
    ending = {2: "nd", 3: "rd"}.get(number, "th")
    return f"{number}{ending} {end}"
