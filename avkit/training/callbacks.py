# SPDX-License-Identifier: Apache-2.0
"""Callbacks of training: checkpoints that are never half written, the history, the progress bar."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint, RichProgressBar
from lightning.pytorch.utilities.types import STEP_OUTPUT
from safetensors.torch import save_file

from avkit.batch import Batch
from avkit.errors import RunError
from avkit.files import atomic
from avkit.training.run_folder import RunFolder


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that get their name only when they are whole, with the weights as safetensors beside them."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object | None = None
    ) -> None:
        """Write `path`, and the weights in a file of the same name that ends in `.safetensors`."""
        path = Path(path)
        with atomic(path) as part:
            torch.save(checkpoint, part)
        weights = {name: x.contiguous() for name, x in checkpoint["state_dict"].items()}
        with atomic(path.with_suffix(".safetensors")) as part:
            save_file(weights, part, metadata={"format": "pt", "avkit": json.dumps(checkpoint["avkit"])})

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read tensors and plain values, nothing that could run code.

        Raises:
            RunError: If the file is missing or is not such a checkpoint.
        """
        if not Path(path).exists():
            raise RunError(f"Checkpoint {path} does not exist. Name a file under RUN/checkpoints, or 'last'.")
        if Path(path).suffix == ".safetensors":
            raise _weights_alone(Path(path))
        try:
            checkpoint: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        except Exception as e:  # torch raises half a dozen kinds for broken or foreign files
            raise RunError(
                f"{path} cannot be read as a checkpoint: {e}. It may be cut, or hold Python objects, "
                "which are never loaded."
            ) from e
        if not isinstance(checkpoint, dict) or "pytorch-lightning_version" not in checkpoint:
            raise RunError(
                f"{path} is no checkpoint of a training that can go on: it has no step and no optimizer. Name a file "
                "under RUN/checkpoints that ends in .ckpt; official weights start with --model.system.weights, see "
                "'avkit convert'."
            )
        return checkpoint


def _weights_alone(path: Path) -> RunError:
    """The error for weights that are named as a checkpoint."""
    checkpoint = path.with_suffix(".ckpt")
    advice = f"Name {checkpoint}, which lies beside it" if checkpoint.exists() else "Name a file that ends in .ckpt"
    return RunError(
        f"{path} holds weights alone, and training cannot go on from them: they have no step and no optimizer. "
        f"{advice}; 'avkit predict RUN' reads the weights."
    )


class LastCheckpoint(Checkpoint):
    """Saves `last.ckpt` every few minutes, every few steps if wanted, after each epoch and at the end.

    Args:
        run: Folder of the run.
        minutes: Minutes between two saves.
        steps: Steps between two saves; 0 for saves by the clock only.
    """

    def __init__(self, run: RunFolder, minutes: float = 2.0, steps: int = 0) -> None:
        self.run = run
        self.seconds = 60 * minutes
        self.steps = steps
        self.saved_at = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, *args: object, **kwargs: object) -> None:
        """Save if it is time."""
        due = time.monotonic() - self.saved_at >= self.seconds
        if trainer.world_size > 1:  # clocks differ, and all processes take part in a save
            due = trainer.strategy.broadcast(due)
        if due or (self.steps and trainer.global_step % self.steps == 0):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, *args: object) -> None:
        """Save, with the scores of the validation."""
        self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.run.last, weights_only=False)
        self.saved_at = time.monotonic()


class History(Callback):
    """Writes a line of JSON per training step and per validation, and measures how long training waits for data.

    Args:
        run: Folder of the run, whose `history.jsonl` is written.
    """

    def __init__(self, run: RunFolder) -> None:
        self.path = run.history
        self.lines: list[str] = []
        self.waiting_seconds = 0.0
        self.working_seconds = 0.0
        self.timed_steps = 0
        #: When the last step began or ended; None after a pause of training.
        self.clock: float | None = None

    def on_train_start(self, trainer: L.Trainer, *args: object) -> None:
        """Drop lines that were written after the checkpoint from which training resumes."""
        rows = read_history(self.path)
        kept = [json.dumps(row) + "\n" for row in rows if row["step"] <= trainer.global_step]
        with atomic(self.path) as part:
            part.write_text("".join(kept))

    def on_train_batch_start(self, trainer: L.Trainer, *args: object) -> None:
        """Measure how long the step waited for its batch."""
        now = time.perf_counter()
        if self.clock is not None:
            self.waiting_seconds += now - self.clock
        self.clock = now

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: STEP_OUTPUT, batch: Batch, batch_idx: int
    ) -> None:
        """Add the losses of the step."""
        if not isinstance(outputs, Mapping):
            raise TypeError("A training step must return a mapping with its losses as 'parts'.")
        losses = {name: float(value) for name, value in outputs["parts"].items()}
        self.lines.append(json.dumps({"step": trainer.global_step, "task": batch.task, **losses}))
        now = time.perf_counter()
        if self.clock is not None:
            self.working_seconds += now - self.clock
            self.timed_steps += 1
        self.clock = now

    def on_validation_start(self, trainer: L.Trainer, *args: object) -> None:
        """Stop the clock: a validation is no wait for data."""
        self.clock = None

    def on_validation_end(self, trainer: L.Trainer, *args: object) -> None:
        """Add the scores of the validation."""
        scores = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if scores and not trainer.sanity_checking:
            self.lines.append(json.dumps({"step": trainer.global_step, **scores}))
        self._write_lines()

    def on_save_checkpoint(self, *args: object) -> None:
        """Write the lines of all steps that the checkpoint contains."""
        self._write_lines()

    def on_train_end(self, *args: object) -> None:
        """Write the remaining lines."""
        self._write_lines()

    def on_exception(self, *args: object) -> None:
        """Write the remaining lines."""
        self._write_lines()

    @property
    def waiting_share(self) -> float:
        """Share of training time spent waiting for batches, in [0, 1]."""
        return self.waiting_seconds / self._seconds

    @property
    def steps_per_second(self) -> float:
        """Training steps per second, including the wait for batches."""
        return self.timed_steps / self._seconds

    @property
    def _seconds(self) -> float:
        return max(1e-9, self.waiting_seconds + self.working_seconds)

    def _write_lines(self) -> None:
        with self.path.open("a", encoding="utf-8") as f:
            f.writelines(line + "\n" for line in self.lines)
        self.lines = []


def read_history(path: Path) -> list[dict[str, Any]]:
    """The rows of a history, [] if there is no file; a last line that is cut off is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class TaskProgressBar(RichProgressBar):
    """A rich bar that shows the task of the step and its loss."""

    #: Task of the last training step.
    task = ""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Remember the task of the step."""
        self.task = batch.task
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The task, its loss, and the score of the last validation."""
        metrics: dict[str, int | str | float | dict[str, float]] = {}
        loss = trainer.callback_metrics.get(f"train/{self.task}/loss")
        if loss is not None:
            metrics["task"] = self.task
            metrics["loss"] = f"{float(loss):.3f}"
        metrics |= super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


def training_callbacks(run: RunFolder, minutes: float, steps: int, *, main_process: bool) -> list[Callback]:
    """The callbacks of a fit: checkpoints in every process, history and progress bar in the main one.

    Args:
        run: Folder of the run.
        minutes: Minutes between two saves of the last checkpoint.
        steps: Steps between two saves of the last checkpoint; 0 for saves by the clock only.
        main_process: Whether this is the main process.
    """
    best = ModelCheckpoint(run.checkpoints, "best", monitor="val/score", mode="max", enable_version_counter=False)
    last = LastCheckpoint(run, minutes, steps)
    if not main_process:
        return [best, last]
    return [History(run), best, last, TaskProgressBar(leave=True)]
