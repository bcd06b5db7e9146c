# SPDX-License-Identifier: Apache-2.0
"""Our own lines, as tests of runs write them."""

from collections.abc import Iterator
from pathlib import Path

from avkit.errors import AvkitError, FileError
from avkit.reading.lines import iterate_lines
from avkit.scoring.formats.base import Format
from avkit.scoring.predictions import PlacedRecord, read_predictions
from avkit.scoring.truth import Truth

#: Endings of files that hold an object of JSON a line.
_ENDINGS = (".jsonl", ".jsonl.gz", ".ndjson")


class AvkitLines(Format):
    """`predictions.jsonl` of a tested run."""

    name = "avkit"
    title = "avkit's predictions.jsonl"

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Whether the first line is an object of JSON with an id and a task."""
        if not path.is_file():
            return False
        try:
            first = next(iterate_lines(path), (0, ""))[1]
        except AvkitError:
            return False
        return path.name.endswith(_ENDINGS) or ('"id"' in first and '"task"' in first)

    @classmethod
    def read(cls, path: Path, truth: Truth) -> Iterator[PlacedRecord | FileError]:
        """Lines of the task and dataset; those of others in the same file are passed over."""
        names = {"task": truth.task.name, "dataset": truth.dataset.name}
        for line in read_predictions(path):
            if isinstance(line, FileError):
                yield line
                continue
            if all(line.values.get(key) in (None, "", name) for key, name in names.items()):
                yield line
