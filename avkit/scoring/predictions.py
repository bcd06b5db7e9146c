# SPDX-License-Identifier: Apache-2.0
"""Files of predictions, one line of JSON per sample: what the official metrics read of it, and no more.

Every line has `task`, `dataset`, `id` and `batch`, the number of the batch that the sample was scored in: sums of
floats depend on it in their last digits. What else it has is said by `Task.records`.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

from avkit.answers.encoding import Record
from avkit.batch import Batch, Prediction
from avkit.errors import DataError, FileError, file_error
from avkit.files import atomic
from avkit.reading.lines import iterate_lines
from avkit.reading.text import parse_json
from avkit.tasks.base import Task

#: Name of the file beside a report.
PREDICTIONS = "predictions.jsonl"
_ADVICE = "Write one object of JSON a line, as avkit test does."


class PlacedRecord(NamedTuple):
    """The prediction for one sample, and where it was read.

    Attributes:
        where: File and line, or whatever names the place.
        values: `id`, and what `Task.prediction` reads.
    """

    where: str
    values: Record


class PredictionWriter:
    """Writes predictions as they are made; the file is there when the `with` block ends without an error.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._stack = ExitStack()
        self._file: IO[str] | None = None
        self._batches = 0

    def __enter__(self) -> "PredictionWriter":
        """Open a temporary file beside the path.

        Raises:
            WriteError: If it cannot be written.
        """
        part = self._stack.enter_context(atomic(self.path))
        self._file = self._stack.enter_context(part.open("w", encoding="utf-8", newline="\n"))
        return self

    def write(self, task: Task, dataset: str, prediction: Prediction, batch: Batch) -> None:
        """Add the samples of a batch.

        Args:
            task: The task that was answered.
            dataset: Name of the samples' dataset.
            prediction: The answers.
            batch: The samples with their targets.

        Raises:
            ValueError: If the task does not store predictions.
        """
        self.write_records(task.name, dataset, task.records(prediction, batch))

    def write_records(self, task: str, dataset: str, records: Iterable[Record]) -> None:
        """Add what `Task.records` says of the samples of a batch."""
        if self._file is None:
            raise RuntimeError("PredictionWriter is not open; use it in a with statement.")
        for record in records:
            line = {"task": task, "dataset": dataset, "batch": self._batches, **record}
            self._file.write(json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n")
        self._batches += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Move the file to its place, or delete it after an error."""
        self._file = None
        return self._stack.__exit__(kind, error, trace)


def read_predictions(path: str | Path) -> Iterator[PlacedRecord | FileError]:
    """The lines of a file of predictions, one at a time; a line that cannot be read as the error that says why.

    Raises:
        FileError: If the file cannot be read.
    """
    for number, text in iterate_lines(path):
        where = f"{path}, line {number}"
        try:
            yield PlacedRecord(where, _parse_line(text, where))
        except DataError as error:
            yield error if isinstance(error, FileError) else FileError(str(error))


def _parse_line(text: str, where: str) -> Record:
    values = parse_json(text, where, advice=_ADVICE)
    if not isinstance(values, dict):
        raise file_error(where, f"is {text[:40]!r}, no object of JSON", _ADVICE)
    name = values.get("id")
    if isinstance(name, int) and not isinstance(name, bool):
        values["id"] = name = str(name)
    if not isinstance(name, str) or not name:
        raise file_error(where, "has no 'id' of a sample", _ADVICE)
    for key in ("task", "dataset"):
        if not isinstance(values.get(key, ""), str):
            raise file_error(where, f"has {str(values[key])[:40]!r} as {key!r}, which is no text", _ADVICE)
    return values
