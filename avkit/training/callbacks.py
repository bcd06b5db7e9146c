# SPDX-License-Identifier: Apache-2.0
"""What the trainer does beside training: checkpoints that are never half written, the history, the progress bar."""

import json
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint, RichProgressBar
from safetensors.torch import save_file

from avkit.batch import Batch
from avkit.errors import RunError
from avkit.files import atomic
from avkit.training.run_folder import RunFolder


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that take their name only once they are whole, with the weights as safetensors beside them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `path` and the same name with the ending safetensors."""
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
            RunError: If the file is missing or is no such checkpoint.
        """
        if not Path(path).exists():
            raise RunError(f"Checkpoint {path} does not exist. Name a file under RUN/checkpoints, or 'last'.")
        try:
            loaded: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        except Exception as e:  # torch raises half a dozen kinds for broken or foreign files
            raise RunError(
                f"{path} cannot be read as a checkpoint: {e}. It may be cut, or hold Python objects, "
                "which are never loaded."
            ) from e
        return loaded


class LastCheckpoint(Checkpoint):
    """Saves `last.ckpt` every few minutes, every few steps if asked, after each epoch and at the end.

    Args:
        run: Where.
        minutes: Time between two saves.
        steps: Steps between two saves; 0 leaves it to the clock.
    """

    def __init__(self, run: RunFolder, minutes: float = 2.0, steps: int = 0) -> None:
        self.run, self.seconds, self.steps = run, 60 * minutes, steps
        self.saved = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Save if it is time."""
        due = time.monotonic() - self.saved >= self.seconds
        if trainer.world_size > 1:  # clocks differ, and all processes take part in a save
            due = trainer.strategy.broadcast(due)
        if due or (self.steps and trainer.global_step % self.steps == 0):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Save, with the validation's result."""
        self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.run.last, weights_only=False)
        self.saved = time.monotonic()


class History(Callback):
    """One line of JSON per training step and per validation, and the share of time spent waiting for data.

    Args:
        run: Where `history.jsonl` lies.
    """

    def __init__(self, run: RunFolder) -> None:
        self.path = run.history
        self.lines: list[str] = []
        self.waited = self.worked = 0.0
        self.timed = 0
        self.clock: float | None = None

    def on_train_start(self, trainer: L.Trainer, *args: Any) -> None:
        """Drop what was written after the checkpoint that is resumed from."""
        kept = [row for row in read_history(self.path) if row["step"] <= trainer.global_step]
        with atomic(self.path) as part:
            part.write_text("".join(json.dumps(row) + "\n" for row in kept))

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        """Note how long the step waited for its batch."""
        now = time.perf_counter()
        if self.clock is not None:
            self.waited += now - self.clock
        self.clock = now

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Add the step's losses."""
        losses = {name: float(value) for name, value in outputs["parts"].items()}
        self.lines.append(json.dumps({"step": trainer.global_step, "task": batch.task, **losses}))
        now = time.perf_counter()
        if self.clock is not None:
            self.worked += now - self.clock
            self.timed += 1
        self.clock = now

    def on_validation_start(self, trainer: L.Trainer, *args: Any) -> None:
        """A pause of training is no wait for data."""
        self.clock = None

    def on_validation_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Add the figures of the validation."""
        figures = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        if figures and not trainer.sanity_checking:
            self.lines.append(json.dumps({"step": trainer.global_step, **figures}))
        self._flush()

    def on_save_checkpoint(self, *args: Any) -> None:
        """Have on disk what the checkpoint stands on."""
        self._flush()

    def on_train_end(self, *args: Any) -> None:
        """Write the rest."""
        self._flush()

    def on_exception(self, *args: Any) -> None:
        """Write the rest."""
        self._flush()

    @property
    def waiting(self) -> float:
        """Share of training time spent waiting for batches, in [0, 1]."""
        return self.waited / max(1e-9, self.waited + self.worked)

    @property
    def rate(self) -> float:
        """Training steps per second, waiting included."""
        return self.timed / max(1e-9, self.waited + self.worked)

    def _flush(self) -> None:
        with self.path.open("a", encoding="utf-8") as f:
            f.writelines(line + "\n" for line in self.lines)
        self.lines = []


def read_history(path: Path) -> list[dict[str, Any]]:
    """The lines of a history; a last line that was cut by a kill is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class TaskProgressBar(RichProgressBar):
    """A rich bar that names the task of the step and its loss."""

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """The task, its loss, and the last validation's score."""
        shown = super().get_metrics(trainer, pl_module)
        task = getattr(pl_module, "current_task", "")
        loss = trainer.callback_metrics.get(f"train/{task}/loss")
        figures = {"task": task, "loss": f"{float(loss):.3f}"} if loss is not None else {}
        return {**figures, **{k: v for k, v in shown.items() if k != "v_num"}}


def callbacks(run: RunFolder, minutes: float, steps: int, first: bool = True) -> list[Callback]:
    """The callbacks of every fit: checkpoints, and in the first of several processes history and progress."""
    best = ModelCheckpoint(run.checkpoints, "best", monitor="val/score", mode="max", enable_version_counter=False)
    saved: list[Callback] = [best, LastCheckpoint(run, minutes, steps)]
    return [History(run), *saved, TaskProgressBar(leave=True)] if first else saved
