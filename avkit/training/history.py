# SPDX-License-Identifier: Apache-2.0
"""The history of a training: a line of JSON per step and per validation."""

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from avkit.batch import Batch
from avkit.files import WriteError, atomic, cannot_write
from avkit.training.run_folder import RunFolder

#: Steps after which the losses on a GPU are read at the latest.
_READ_EVERY = 50


class History(Callback):
    """Writes a line of JSON per training step and per validation, and measures how long training waits for data.

    Args:
        run: Folder of the run, whose `history.jsonl` is written.
    """

    def __init__(self, run: RunFolder) -> None:
        self.path = run.history
        #: Lines that have not been written yet.
        self.lines: list[str] = []
        #: Rows after these, of which a GPU may still compute the numbers.
        self.rows: list[Mapping[str, Any]] = []
        #: Lines since the start of the run.
        self.count = 0
        self.waiting_seconds = 0.0
        self.working_seconds = 0.0
        self.timed_steps = 0
        #: When the last step began or ended; None after a pause of training.
        self.clock: float | None = None
        #: Lines that the checkpoint covers from which training resumes; None where it does not tell.
        self.covered: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """How many lines a checkpoint covers."""
        return {"lines": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember how many lines the checkpoint covers."""
        self.covered = state_dict["lines"]

    def on_train_start(self, trainer: L.Trainer, *args: object) -> None:
        """Drop lines that were written after the checkpoint from which training resumes, and damaged ones."""
        lines = _read_lines(self.path)[: self.covered]
        rows = [_parse(line) for line in lines]
        kept = [row for row in rows if row is not None and row["step"] <= trainer.global_step]
        with atomic(self.path) as part:
            part.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        self.count = len(kept)
        self._report_lost([number for number, row in enumerate(rows, 1) if row is None])

    def _report_lost(self, damaged: list[int]) -> None:
        """Say which lines are lost."""
        if damaged:
            numbers = ", ".join(map(str, damaged[:5])) + (", ..." if len(damaged) > 5 else "")
            print(f"{self.path}: {len(damaged)} damaged lines were dropped (line {numbers})", file=sys.stderr)
        lacking = (self.covered or 0) - self.count - len(damaged)
        if self.count and lacking > 0:
            print(f"{self.path}: {lacking} lines before the checkpoint are missing", file=sys.stderr)

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
        self._add({"step": trainer.global_step, "task": batch.benchmark, **outputs["parts"]})
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
        scores = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if scores and not trainer.sanity_checking:
            self._add({"step": trainer.global_step, **scores})
        self._write_lines()

    def on_save_checkpoint(self, *args: object) -> None:
        """Write the lines of all steps that the checkpoint contains."""
        self._write_lines()

    def on_train_end(self, *args: object) -> None:
        """Write the remaining lines."""
        self._write_lines()

    def on_exception(self, *args: object) -> None:
        """Write the remaining lines, if that is possible: the exception says more than a second one would."""
        with suppress(WriteError, RuntimeError):  # a GPU that failed gives no numbers any more
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

    def _add(self, row: Mapping[str, Any]) -> None:
        self.rows.append(row)
        self.count += 1
        if len(self.rows) >= _READ_EVERY or not any(map(_is_elsewhere, row.values())):
            self._read_rows()

    def _read_rows(self) -> None:
        """Make lines of the rows, whose numbers come from a GPU in one piece."""
        elsewhere = [value for row in self.rows for value in row.values() if _is_elsewhere(value)]
        numbers = iter(torch.stack([x.float() for x in elsewhere]).tolist() if elsewhere else [])
        for row in self.rows:
            values = {name: next(numbers) if _is_elsewhere(x) else _plain(x) for name, x in row.items()}
            self.lines.append(json.dumps(values))
        self.rows = []

    def _write_lines(self) -> None:
        self._read_rows()
        try:
            with self.path.open("a", encoding="utf-8") as f:
                f.writelines(line + "\n" for line in self.lines)
        except OSError as e:
            raise cannot_write(self.path, e) from e
        self.lines = []


def _is_elsewhere(value: object) -> bool:
    """Whether a value is on a GPU, which would be waited for."""
    return isinstance(value, Tensor) and value.device.type != "cpu"


def _plain(value: object) -> object:
    return float(value) if isinstance(value, Tensor) else value


def read_history(path: Path) -> list[dict[str, Any]]:
    """The rows of a history, [] if there is no file; lines that are damaged or cut off are left out."""
    rows = [_parse(line) for line in _read_lines(path)]
    return [row for row in rows if row is not None]


def _read_lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


def _parse(line: bytes) -> dict[str, Any] | None:
    """The row of a line; None if the line is damaged."""
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    whole = isinstance(row, dict) and type(row.get("step")) is int
    return row if whole else None
