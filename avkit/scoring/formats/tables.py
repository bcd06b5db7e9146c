# SPDX-License-Identifier: Apache-2.0
"""Tables of others: separated by tabs, commas, semicolons or `&`, with columns named in one of several ways."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avkit.errors import DataError
from avkit.reading.text import read_text, table_rows

_DELIMITERS = {"\t": "tabs", ",": "commas", ";": "semicolons", "&": "'&'"}

#: Ways to name the columns, without case and separators, by the name that is used here; the surest one first.
COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "id": (
        "id", "clip", "clipid", "clipname", "video", "videoid", "videoname", "vid", "uid", "file", "filename", "name",
        "sample", "sampleid", "image", "imageid", "imagename", "key",
    ),
    "start": ("start", "starttime", "startsec", "startsecond", "onset", "begin", "tstart", "from"),
    "end": ("end", "endtime", "endsec", "endsecond", "offset", "stop", "tend", "to"),
    "second": ("second", "sec", "segment", "segmentid", "step", "time", "t", "index"),
    "frame": ("frame", "frameid", "frameindex"),
    "label": (
        "label", "labels", "class", "classes", "classname", "category", "categories", "event", "events", "eventlabel",
        "eventlabels", "prediction", "pred",
    ),
    "modality": ("modality", "modalities", "stream", "type"),
    "caption": ("caption", "captions", "text", "sentence", "description", "answer", "response", "output", "prediction"),
    "x1": ("x1", "xmin", "left", "x0"),
    "y1": ("y1", "ymin", "top", "y0"),
    "x2": ("x2", "xmax", "right"),
    "y2": ("y2", "ymax", "bottom"),
    "x": ("x",),
    "y": ("y",),
    "w": ("w", "width", "boxwidth"),
    "h": ("h", "height", "boxheight"),
    "image_width": ("imagewidth", "framewidth", "videowidth"),
    "image_height": ("imageheight", "frameheight", "videoheight"),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        where: File and line.
        cells: Text of each column without blanks at its ends, by the names of `COLUMN_NAMES`.
    """

    where: str
    cells: Mapping[str, str]

    def number(self, column: str) -> float:
        """A finite number.

        Raises:
            DataError: If it is none.
        """
        text = self.cells[column]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"{self.where}: {column} is {text!r} and not a number.")
        return value

    def whole(self, column: str) -> int:
        """A whole number.

        Raises:
            DataError: If it is none.
        """
        value = self.number(column)
        if value != int(value):
            raise DataError(f"{self.where}: {column} is {self.cells[column]!r} and not a whole number.")
        return int(value)


@dataclass(frozen=True)
class _Header:
    """The first line of a table.

    Attributes:
        delimiter: What separates its cells.
        columns: The column that each cell names; empty for one that is not read.
    """

    delimiter: str
    columns: list[str]


def table_columns(path: Path, columns: Sequence[str]) -> set[str]:
    """Those of some columns that a table has, by the delimiter that finds most of them.

    Raises:
        FileError: If it cannot be read.
    """
    return set(_find_header(read_text(path), columns).columns) - {""}


def read_table(
    path: Path, required: Sequence[str], optional: Sequence[str] = (), header: Sequence[str] = ()
) -> list[Row]:
    """The rows of a table, without blank ones; other columns may be present.

    Args:
        path: The table; `.gz` too.
        required: Columns that it must have, by the names of `COLUMN_NAMES`.
        optional: Columns that it may have.
        header: Columns of a table without a header, separated by '&'; empty text for one that is not read.

    Raises:
        DataError: If a column is missing or stands twice, or a row has another number of cells.
    """
    text = read_text(path)
    layout = _Header("&", list(header)) if header else _find_header(text, (*required, *optional))
    lines = list(table_rows(text, str(path), layout.delimiter))
    if not header:
        _check_header(layout, path, text, required, optional)
        lines = lines[1:]
    rows = []
    for line, cells in lines:
        if any(cell.strip() for cell in cells):
            where = f"{path}, line {line}"
            rows.append(Row(where, _name_cells(_join_label(cells, layout, where), layout)))
    return rows


def _check_header(header: _Header, path: Path, text: str, required: Sequence[str], optional: Sequence[str]) -> None:
    missing = [column for column in required if column not in header.columns]
    if missing:
        first = text.partition("\n")[0][:80]
        raise DataError(
            f"{path}, line 1: the header {first!r} has no column {', '.join(missing)}. Name the columns "
            f"{', '.join(required)} in the first line, separated by tabs or commas."
        )
    for column in (*required, *optional):
        if header.columns.count(column) > 1:
            raise DataError(f"{path}, line 1: the column {column} stands twice. Name one of them otherwise.")


def _name_cells(cells: list[str], header: _Header) -> dict[str, str]:
    values = {}
    for column, cell in zip(header.columns, cells, strict=True):
        if column:
            values[column] = cell.strip()
    return values


def _find_header(text: str, columns: Sequence[str]) -> _Header:
    """The first line cut by the delimiter that finds most columns."""
    first = text.partition("\n")[0]
    headers = [_Header(delimiter, _name_columns(first, delimiter, columns)) for delimiter in _DELIMITERS]
    return max(headers, key=lambda header: len(set(header.columns) - {""}))


def _name_columns(line: str, delimiter: str, columns: Sequence[str]) -> list[str]:
    """The column that each cell of the first line names; of several for one column the name that is listed first."""
    cells = next(iter(table_rows(line, "", delimiter)), (0, []))[1]
    letters = ["".join(character for character in cell.casefold() if character.isalnum()) for cell in cells]
    names = [""] * len(cells)
    for column in columns:
        present = [name for name in COLUMN_NAMES[column] if name in letters]
        if present:
            for place, written in enumerate(letters):
                if written == present[0] and not names[place]:
                    names[place] = column
    return names


def _join_label(cells: list[str], header: _Header, where: str) -> list[str]:
    """The cells of a row, in which a name with delimiters and without quotes was cut apart."""
    extra = len(cells) - len(header.columns)
    place = _free_text(header)
    if extra > 0 and place is not None:
        joined = header.delimiter.join(cells[place : place + extra + 1])
        return [*cells[:place], joined, *cells[place + extra + 1 :]]
    if extra:
        raise DataError(
            f"{where}: {len(cells)} cells where the header has {len(header.columns)}, separated by "
            f"{_DELIMITERS[header.delimiter]}: {header.delimiter.join(cells)[:80]!r}."
        )
    return cells


def _free_text(header: _Header) -> int | None:
    """Place of the column whose text may hold the delimiter."""
    for column in ("label", "caption"):
        if column in header.columns:
            return header.columns.index(column)
    return None
