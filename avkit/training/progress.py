# SPDX-License-Identifier: Apache-2.0
"""What a training says while it runs: a bar on a terminal, plain lines elsewhere, both with the time left over all."""

import sys
import time
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import CustomTimeColumn
from rich.progress import BarColumn

from avkit.batch import Batch
from avkit.errors import count_of
from avkit.training.datamodule import AVDataModule
from avkit.training.total_steps import total_steps

#: Passes over a clip in a test: as it is, in silence, and with another clip's sound.
_PASSES_OF_TEST = 3
#: Lines about the steps of a training and the batches of a test, which they cut into equal parts.
_LINES = 10
_QUARTERS = 4
#: Characters of the bar on a terminal.
_BAR_WIDTH = 12


class TimeLeft:
    """The time that a fit still needs: steps and validations that are left, and the test.

    Args:
        steps: Steps of the whole training.
        validations: Validations of the whole training.
        test_share: Time of the test as a multiple of that of one validation; 0 where none follows.
        validation_steps: Steps of the training that take about as long as a validation; it counts until one was timed.
        clock: Seconds since any moment.
    """

    def __init__(
        self,
        steps: int,
        validations: int,
        test_share: float,
        validation_steps: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.steps = steps
        self.validations = validations
        self.test_share = test_share
        self.validation_steps = validation_steps
        self.clock = clock
        self._started = clock()
        self._first = 0
        self._validating = 0.0
        self._validated = 0
        self._validation_start = 0.0

    def start(self, done: int) -> None:
        """Training begins, or goes on after `done` steps."""
        self._started = self.clock()
        self._first = done

    def start_validation(self) -> None:
        """A validation begins."""
        self._validation_start = self.clock()

    def end_validation(self) -> None:
        """The validation ends."""
        self._validating += self.clock() - self._validation_start
        self._validated += 1

    def step_seconds(self, done: int) -> float:
        """Mean seconds of a step, when `done` are done."""
        return (self.clock() - self._started - self._validating) / max(1, done - self._first)

    def validation_seconds(self, done: int) -> float:
        """Mean seconds of a validation, when `done` steps are done."""
        if not self._validated:
            return self.validation_steps * self.step_seconds(done)
        return self._validating / self._validated

    def left(self, done: int) -> float:
        """Seconds until the report, when `done` steps are done.

        Args:
            done: Steps that are done, with those before a resumed training.
        """
        following = max(0, self.validations - self._validated) + self.test_share
        return (self.steps - done) * self.step_seconds(done) + following * self.validation_seconds(done)


def in_words(seconds: float) -> str:
    """A time for people: `12 s`, `7 min`, `3 h 20 min`.

    Example:
        >>> in_words(11.6), in_words(400), in_words(12000)
        ('12 s', '7 min', '3 h 20 min')
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def estimate(trainer: L.Trainer, *, tests: bool) -> TimeLeft:
    """The estimate of a training that is about to start."""
    steps = total_steps(trainer)
    data = vars(trainer).get("datamodule")
    if not isinstance(data, AVDataModule):
        return TimeLeft(steps, 0, 0.0)
    counts = {"val": 0, "test": 0}
    for benchmark in data.benchmarks:
        for split in ("val", "test") if tests else ("val",):
            counts[split] += len(data.indices(split, benchmark))
    epochs = max(1, round(steps / max(1, data.steps)))
    share = _PASSES_OF_TEST * counts["test"] / counts["val"] if counts["val"] else 0.0
    return TimeLeft(steps, epochs, share, counts["val"] / _clips_of_a_step(data))


def _clips_of_a_step(data: AVDataModule) -> float:
    """Mean clips of a training step. A clip of a validation, whole but without gradient, takes about as long as one."""
    shares = data.shares()
    return sum(shares[name] * data.batch_size.for_training(data.spec(name)) for name in data.benchmarks)


def _has_scenes(trainer: L.Trainer) -> bool:
    """Whether clips are rendered for the training."""
    data = vars(trainer).get("datamodule")
    return isinstance(data, AVDataModule) and any(b.dataset == "scenes" for b in data.benchmarks.values())


class _TimedProgress(ProgressBar):
    """Progress that knows the time left.

    Args:
        tests: Whether a test follows the training.
        options: Of the other base class.
    """

    def __init__(self, *, tests: bool, **options: Any) -> None:
        super().__init__(**options)
        self.tests = tests
        self.time: TimeLeft | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        super().on_train_start(trainer, pl_module)
        self.time = estimate(trainer, tests=self.tests)
        self.time.start(trainer.global_step)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A validation begins."""
        super().on_validation_start(trainer, pl_module)
        if self.time is not None:
            self.time.start_validation()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A validation ends."""
        super().on_validation_end(trainer, pl_module)
        if self.time is not None:
            self.time.end_validation()


class TaskProgressBar(_TimedProgress, RichProgressBar):
    """A bar with the loss of the step's task under its name, the score of the last validation, and the time left.

    Args:
        tests: Whether a test follows the training.
    """

    #: Benchmark of the last training step: its task, and dataset where the task has several.
    task = ""

    def __init__(self, *, tests: bool) -> None:
        super().__init__(tests=tests, leave=True)

    def configure_columns(self, trainer: L.Trainer) -> list[Any]:
        """Columns that fit 80 characters: a short bar, and no clock of the epoch beside the time left over all."""
        columns: list[Any] = super().configure_columns(trainer)
        for column in columns:
            if isinstance(column, BarColumn):
                column.bar_width = _BAR_WIDTH
        return [column for column in columns if not isinstance(column, CustomTimeColumn)]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Remember the task of the step."""
        self.task = batch.benchmark
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The loss of the task, the score of the last validation, and the time left."""
        metrics: dict[str, int | str | float | dict[str, float]] = {}
        loss = trainer.callback_metrics.get(f"train/{self.task}/loss")
        if loss is not None:
            metrics[self.task] = f"{float(loss):.3f}"
        metrics |= super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        if "val/score" in metrics:
            metrics["score"] = metrics.pop("val/score")
        if self.time is not None and trainer.global_step:
            metrics["left"] = in_words(self.time.left(trainer.global_step))
        return metrics


class ProgressLines(_TimedProgress):
    """A line for each tenth of a training, each validation and each quarter of a test, for output that is no terminal.

    Args:
        tests: Whether a test follows the training.
    """

    def __init__(self, *, tests: bool = False) -> None:
        super().__init__(tests=tests)
        self._next = 0
        self._is_enabled = True

    def disable(self) -> None:
        """Say nothing, as Lightning asks of processes other than the first."""
        self._is_enabled = False

    def enable(self) -> None:
        """Say something again."""
        self._is_enabled = True

    def print(self, *args: object, **kwargs: object) -> None:
        """Print a line at once, though the output may be a file."""
        if self._is_enabled:
            print(*args, flush=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say how long the training is."""
        super().on_train_start(trainer, pl_module)
        assert self.time is not None
        self._next = _following(trainer.global_step, self.time.steps, _LINES)
        rendered = ", on scenes that are rendered on the way" if _has_scenes(trainer) else ""
        self.print(f"training: {self.time.steps:,} steps{rendered}")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Print a line for each tenth of the steps."""
        done = trainer.global_step
        if self.time is None or done < self._next:
            return
        self._next = _following(done, self.time.steps, _LINES)
        ahead = "training, validation, test and report" if self.tests else "training and validation"
        self.print(
            f"step {done:,} of {self.time.steps:,}, {self.time.step_seconds(done):.2g} s each; "
            f"about {in_words(self.time.left(done))} left for {ahead}"
        )

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the score."""
        super().on_validation_end(trainer, pl_module)
        score = trainer.callback_metrics.get("val/score")
        if score is not None:
            self.print(f"validated after {trainer.global_step:,} steps: val/score {float(score):.3f}")

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say how long the test is."""
        self._test_start = time.monotonic()
        self.print(f"testing: {count_of(self._test_batches(trainer), 'batch', 'batches')}")

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Print a line for each quarter of the batches, but for the last."""
        done = batch_idx + 1
        whole = self._test_batches(trainer)
        if done == whole or _following(batch_idx, whole, _QUARTERS) != done:
            return
        left = (time.monotonic() - self._test_start) / done * (whole - done)
        self.print(f"batch {done:,} of {whole:,}; about {in_words(left)} left")

    def _test_batches(self, trainer: L.Trainer) -> int:
        return int(sum(trainer.num_test_batches))


def _following(done: int, whole: int, parts: int) -> int:
    """The next of the numbers that cut `whole` into parts."""
    part = max(1, whole // parts)
    return (done // part + 1) * part


def progress(*, tests: bool) -> ProgressBar:
    """A bar where standard output is a terminal, else lines."""
    return TaskProgressBar(tests=tests) if sys.stdout.isatty() else ProgressLines(tests=tests)


def use_lines(trainer: L.Trainer) -> None:
    """Have a trainer print lines in place of Lightning's own bar, where standard output is no terminal."""
    callbacks = vars(trainer)["callbacks"]
    if sys.stdout.isatty():
        return
    for number, callback in enumerate(callbacks):
        if isinstance(callback, RichProgressBar | TQDMProgressBar):
            callbacks[number] = ProgressLines()
