# SPDX-License-Identifier: Apache-2.0
"""How a model is scored in validation and test: alone, in silence, with another sound, and beside constant rules."""

import math
import sys
from abc import abstractmethod
from collections.abc import Mapping

import lightning as L

from avkit.batch import Batch, Prediction
from avkit.systems.base import Encoded, System
from avkit.tasks.base import Baseline, Task
from avkit.training.benchmarks import mean_over_tasks
from avkit.training.evaluator import Evaluator, silence, swap_audio
from avkit.training.loader import SharedLoader
from avkit.training.ranking import SampleRanking
from avkit.training.shared_evaluation import Evaluated, PredictionSink, ResultsInOrder


class ScoredModule(L.LightningModule):
    """A system whose answers are scored; a subclass trains it.

    Args:
        benchmarks: What is scored, by name: each task, or each of its datasets where it has several.
    """

    system: System

    def __init__(self, benchmarks: Mapping[str, Task]) -> None:
        super().__init__()
        #: What is scored, by name: each task, or each of its datasets where it has several.
        self.benchmarks = benchmarks
        self._start_evaluation(quick=True)
        #: Benchmarks that had no figure in a validation.
        self.unscored: list[str] = []
        #: Constant rules that `test` scores beside the model, by benchmark and name.
        self.baselines: Mapping[str, Mapping[str, Baseline]] = {}
        #: Whether `test` scores the model with silence and with another clip's sound too.
        self.test_other_sounds = True
        #: The samples that `test` answers worst and best; None where nobody wants to see them.
        self.ranking: SampleRanking | None = None
        #: Takes what `test` predicts; None where nobody wants it.
        self.predictions: PredictionSink | None = None

    @abstractmethod
    def forward(self, batch: Batch, encoded: Encoded | None = None) -> Prediction:
        """The answer of the batch's task in the user's units; `encoded` where the encoders have run before."""

    def _start_evaluation(self, *, quick: bool) -> None:
        """Start new metrics, and bring together what processes make of their batches."""
        self.evaluator = Evaluator(self.benchmarks, quick=quick)
        self._results = ResultsInOrder(self._take)

    def _put(self, loaders: object, batch_idx: int, result: Evaluated) -> None:
        """Give the result of a batch of this process."""
        assert isinstance(loaders, SharedLoader)
        if self.trainer.world_size > 1:
            for scores in result.scores:
                scores.pack()
        self._results.put(loaders.numbers[batch_idx], result)

    def _take(self, result: Evaluated) -> None:
        """Take the result of a batch, in the order of the data."""
        for scores in result.scores:
            self.evaluator.add(scores)
        if self.ranking is not None:
            self.ranking.add(result.benchmark, result.ranked)
        if self.predictions is not None:
            self.predictions.write(result.benchmark, result.records)

    def on_validation_epoch_start(self) -> None:
        """Start new metrics."""
        self._start_evaluation(quick=True)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch."""
        scores = self.evaluator.measure(self(batch), batch)
        self._put(self.trainer.val_dataloaders, batch_idx, Evaluated(batch.benchmark, [scores]))

    def on_validation_epoch_end(self) -> None:
        """Log each benchmark's figures, and the mean over tasks that chooses the best checkpoint."""
        self._results.flush()
        computed = None
        if self.trainer.is_global_zero:
            computed = {name: self.evaluator.compute(name) for name in self.benchmarks}
        by_benchmark = self.trainer.strategy.broadcast(computed)
        assert by_benchmark is not None
        scores: dict[str, float] = {}
        for name, task in self.benchmarks.items():
            figures = by_benchmark[name]
            shown = {*task.headline, task.monitor}
            self.log_dict({f"val/{name}/{k}": v for k, v in figures.items() if k in shown}, sync_dist=False)
            scores[name] = figures.get(task.monitor, math.nan)
            if not math.isfinite(scores[name]) and name not in self.unscored:
                self.unscored.append(name)
                self._print_unscored(name, task.monitor)
        self.log("val/score", mean_over_tasks(scores), prog_bar=True)

    def _print_unscored(self, name: str, figure: str) -> None:
        """Say once that a task does not count in the score."""
        if self.trainer.is_global_zero:
            print(f"note: {self.unscored_note(name, figure)}", file=sys.stderr)

    def unscored_note(self, name: str, figure: str) -> str:
        """What a validation without a figure of a task means."""
        return (
            f"task {name!r} has no {figure} on its validation clips, so val/score, which chooses the best checkpoint, "
            "is the mean of the other tasks."
        )

    def on_test_epoch_start(self) -> None:
        """Start all official metrics."""
        self._start_evaluation(quick=False)
        self.system.on_evaluation_start()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score the model, its answers in silence and with another sound, and the baselines."""
        encoded = self.system.encode(batch)
        prediction = self(batch, encoded)
        result = Evaluated(batch.benchmark, [self.evaluator.measure(prediction, batch)])
        if self.predictions is not None:
            result.records = self.predictions.read(prediction, batch)
        if self.ranking is not None:
            result.ranked = self.ranking.measure(prediction, batch)
        for name, rule in self.baselines.get(batch.benchmark, {}).items():
            result.scores.append(self.evaluator.measure(rule(batch), batch, f"baseline: {name}"))
        if self.test_other_sounds:
            for name, other in (("silence", silence(batch)), ("swapped", swap_audio(batch))):
                answer = self(other, self.system.encode(other, encoded.visual))
                result.scores.append(self.evaluator.measure(answer, batch, name))
        self._put(self.trainer.test_dataloaders, batch_idx, result)

    def on_test_epoch_end(self) -> None:
        """Log each benchmark's figures, in the first process."""
        self._results.flush()
        if not self.trainer.is_global_zero:
            return
        for name in self.benchmarks:
            figures = self.evaluator.compute(name)
            self.log_dict({f"test/{name}/{key}": value for key, value in figures.items()}, sync_dist=False)
