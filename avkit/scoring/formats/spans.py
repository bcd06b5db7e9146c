# SPDX-License-Identifier: Apache-2.0
"""Tables of events or of segments: which class holds from when to when in which clip."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avkit.errors import AvkitError, DataError
from avkit.reading.text import read_text
from avkit.scoring.formats.listed import ClipSteps
from avkit.scoring.formats.tables import Row, read_table, table_columns

#: Columns of a line of AVE's lists, which have no header in their first form.
_AVE_LINE = ("label", "id", "", "start", "end")


@dataclass(frozen=True)
class Span:
    """A row of such a table.

    Attributes:
        where: File and line.
        id: Id of the clip as it is written.
        start: Seconds, or the number of a step.
        end: Seconds; None for a step.
        label: Class as it is written.
        modality: Modality as it is written; empty where the table has no such column.
    """

    where: str
    id: str
    start: float
    end: float | None
    label: str
    modality: str = ""

    def covered(self, steps: ClipSteps) -> list[int]:
        """The steps that it covers: those whose middle lies in it, or the one around its own middle.

        Raises:
            DataError: If it is reversed or not within the clip.
        """
        if self.end is None:
            if not 0 <= self.start < steps.number:
                raise DataError(
                    f"{self.where}: step {self.start:g} is none of the clip, whose steps are 0 to {steps.number - 1}."
                )
            return [int(self.start)]
        if not 0 <= self.start <= self.end <= steps.seconds:
            raise DataError(
                f"{self.where}: {self.label!r} lasts from {self.start:g} to {self.end:g} s, and the clip from 0 to "
                f"{steps.seconds:g} s. Give 0 <= start <= end <= {steps.seconds:g}."
            )
        if self.start == self.end:
            return []
        middles = (np.arange(steps.number) + 0.5) * steps.hop
        inside = np.flatnonzero((middles >= self.start) & (middles < self.end)).tolist()
        return inside or [int((self.start + self.end) / 2 / steps.hop)]


@dataclass(frozen=True)
class SpanTable:
    """A table of events or segments.

    Attributes:
        spans: Its rows.
        by_step: Whether each row is of one step.
    """

    spans: list[Span]
    by_step: bool


def has_spans(path: Path) -> bool:
    """Whether a file is a table of events or segments, by its first line; never an error."""
    try:
        columns = table_columns(path, ("id", "start", "end", "second", "label"))
        has_times = {"start", "end"} <= columns or "second" in columns
        return ({"id", "label"} <= columns and has_times) or _is_ave_list(path)
    except AvkitError:
        return False


def read_spans(path: Path, longest: int) -> SpanTable:
    """The rows of a table with columns `id,start,end,label` or `id,second,label`, and `modality` where it has one.

    Lists of AVE (`label&id&quality&start&end`) are read without a header too.

    Args:
        path: The table.
        longest: Steps of the longest clip; steps are numbered from 0, or all from 1 where none is 0 and one is this.

    Raises:
        DataError: If it is no such table, or a number is none.
    """
    if _is_ave_list(path):
        rows = read_table(path, ("id", "start", "end", "label"), header=_AVE_LINE)
        return SpanTable([_event(row) for row in rows], by_step=False)
    columns = table_columns(path, ("id", "start", "end", "second", "label"))
    if "second" in columns and not {"start", "end"} <= columns:
        rows = read_table(path, ("id", "second", "label"), ("modality",))
        numbers = {row.whole("second") for row in rows}
        first = 1 if 0 not in numbers and longest in numbers else 0
        return SpanTable(list(_steps(rows, first)), by_step=True)
    rows = read_table(path, ("id", "start", "end", "label"), ("modality",))
    return SpanTable([_event(row) for row in rows], by_step=False)


def _is_ave_list(path: Path) -> bool:
    cells = read_text(path).partition("\n")[0].split("&")
    return len(cells) == len(_AVE_LINE) and cells[3].strip().isdecimal() and cells[4].strip().isdecimal()


def _event(row: Row) -> Span:
    """The event of a row; one of no length where the row has an id alone, which says that nothing happens."""
    nothing = not any(row.cells[column] for column in ("start", "end", "label"))
    return Span(
        row.where,
        row.cells["id"],
        0.0 if nothing else row.number("start"),
        0.0 if nothing else row.number("end"),
        row.cells["label"],
        row.cells.get("modality", ""),
    )


def _steps(rows: list[Row], first: int) -> Iterator[Span]:
    for row in rows:
        step = row.whole("second") - first
        yield Span(row.where, row.cells["id"], step, None, row.cells["label"], row.cells.get("modality", ""))
