# SPDX-License-Identifier: Apache-2.0
"""Tables of events or of segments: which class holds from when to when in which clip."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avkit.errors import DataError
from avkit.reading.text import read_text
from avkit.scoring.formats.tables import Row, read_table, table_columns

#: Columns of a line of AVE's lists, which have no header in their first form.
_AVE_LINE = ("label", "id", "", "start", "end")


@dataclass(frozen=True)
class Span:
    """A row of such a table.

    Attributes:
        where: File and line.
        id: Id of the clip as it is written.
        start: Seconds.
        end: Seconds; `start` and `end` of a segment are those of its step.
        label: Class as it is written.
        modality: Modality as it is written; empty where the table has no such column.
    """

    where: str
    id: str
    start: float
    end: float
    label: str
    modality: str = ""

    def steps(self, steps: int) -> list[int]:
        """The steps of one second that it covers: those whose middle lies in it, or the one around its own middle.

        Args:
            steps: Steps of the clip.

        Raises:
            DataError: If it is reversed or not within the clip.
        """
        if not 0 <= self.start <= self.end <= steps:
            raise DataError(
                f"{self.where}: {self.label!r} lasts from {self.start:g} to {self.end:g} s, and the clip from 0 to "
                f"{steps} s. Give 0 <= start <= end <= {steps}."
            )
        if self.start == self.end:
            return []
        middles = np.arange(steps) + 0.5
        covered = np.flatnonzero((middles >= self.start) & (middles < self.end)).tolist()
        return covered or [int((self.start + self.end) / 2)]


@dataclass(frozen=True)
class SpanTable:
    """A table of events or segments.

    Attributes:
        spans: Its rows.
        by_segment: Whether each row is of one segment.
    """

    spans: list[Span]
    by_segment: bool


def has_spans(path: Path) -> bool:
    """Whether a file is a table of events or segments, by its first line."""
    columns = table_columns(path, ("id", "start", "end", "second", "label"))
    by_event = {"id", "start", "end", "label"} <= columns
    return by_event or {"id", "second", "label"} <= columns or _is_ave_list(path)


def read_spans(path: Path, steps: int) -> SpanTable:
    """The rows of a table with columns `id,start,end,label` or `id,second,label`, and `modality` where it has one.

    Lists of AVE (`label&id&quality&start&end`) are read without a header too.

    Args:
        path: The table.
        steps: Steps of a clip; segments are numbered from 0, or all from 1 where none is 0 and one is `steps`.

    Raises:
        DataError: If it is no such table, or a number is none.
    """
    if _is_ave_list(path):
        rows = read_table(path, ("id", "start", "end", "label"), header=_AVE_LINE)
        return SpanTable([_event(row) for row in rows], by_segment=False)
    columns = table_columns(path, ("id", "start", "end", "second", "label"))
    if "second" in columns and not {"start", "end"} <= columns:
        rows = read_table(path, ("id", "second", "label"), ("modality",))
        first = first_number({row.whole("second") for row in rows}, steps)
        return SpanTable([_segment(row, first) for row in rows], by_segment=True)
    rows = read_table(path, ("id", "start", "end", "label"), ("modality",))
    return SpanTable([_event(row) for row in rows], by_segment=False)


def first_number(numbers: set[int], steps: int) -> int:
    """Whether steps are counted from 0 or from 1, by all numbers of a file: from 1 if none is 0 and one is `steps`."""
    return 1 if 0 not in numbers and steps in numbers else 0


def _is_ave_list(path: Path) -> bool:
    cells = read_text(path).partition("\n")[0].split("&")
    return len(cells) == len(_AVE_LINE) and cells[3].strip().isdecimal() and cells[4].strip().isdecimal()


def _event(row: Row) -> Span:
    return Span(
        row.where,
        row.cells["id"],
        row.number("start"),
        row.number("end"),
        row.cells["label"],
        row.cells.get("modality", ""),
    )


def _segment(row: Row, first: int) -> Span:
    second = row.whole("second") - first
    return Span(row.where, row.cells["id"], second, second + 1, row.cells["label"], row.cells.get("modality", ""))
