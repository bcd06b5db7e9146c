# SPDX-License-Identifier: Apache-2.0
"""Annotation files as people have them: gzipped or not, with a BOM, with CRLF, cut off, or saved by a spreadsheet."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from avkit.errors import DataError
from avkit.reading.arrays import open_hdf5, read_dataset
from avkit.reading.text import read_json as read_json
from avkit.reading.text import read_text, table_rows

_DELIMITER_NAMES = {"\t": "tabs", ",": "commas", "&": "'&'"}


def read_lines(path: Path) -> list[str]:
    """Lines of a text file that are not blank, as they are.

    Raises:
        DataError: If the file cannot be read.
    """
    return [line for line in read_text(path).split("\n") if line.strip()]


def read_rows(path: Path, columns: Sequence[str], delimiter: str = ",") -> list[dict[str, str]]:
    """Rows of a table with a header, by column name.

    Args:
        path: The table.
        columns: Columns that it must have; others may be present.
        delimiter: What separates the fields of a row.

    Raises:
        DataError: If a column is missing or a row has another number of fields; names file, line and what to do.
    """
    text = read_text(path)
    name = _DELIMITER_NAMES.get(delimiter, repr(delimiter))
    lines = table_rows(text, str(path), delimiter)
    _, titles = next(lines, (0, []))
    header = [cell.strip() for cell in titles]
    missing = [column for column in columns if column not in header]
    if missing:
        first = text.split("\n", 1)[0][:80]
        raise DataError(
            f"{path}: the header {first!r} has no column {', '.join(missing)}. The columns {', '.join(columns)} are "
            f"separated by {name}; take the file as its authors publish it, not saved again by a spreadsheet or editor."
        )
    rows = []
    for line, cells in lines:
        if _is_blank(cells):
            continue
        if len(cells) != len(header):
            raise DataError(
                f"{path}, line {line}: {len(cells)} fields where the header has {len(header)}, separated by "
                f"{name}: {delimiter.join(cells)[:80]!r}. Take the file as its authors publish it."
            )
        rows.append(dict(zip(header, cells, strict=True)))
    return rows


def read_cells(path: Path) -> list[list[str]]:
    """Rows of a table without a header, separated by commas; blank rows are left out.

    Raises:
        DataError: If the file cannot be read.
    """
    rows = []
    for _, cells in table_rows(read_text(path), str(path)):
        if not _is_blank(cells):
            rows.append([cell.strip() for cell in cells])
    return rows


def _is_blank(cells: list[str]) -> bool:
    return not any(cell.strip() for cell in cells)


def read_array(path: Path, key: str) -> NDArray[Any]:
    """An array of an HDF5 file.

    Raises:
        DataError: If the file is cut off or lacks the key.
    """
    with open_hdf5(path, "Download it again.") as file:
        return read_dataset(file, path, key)


def safe_id(name: str, where: str) -> str:
    """A clip's id, checked to be the name of a file and not a path.

    Raises:
        DataError: If it is empty or longer than 200 characters, holds a path separator, or begins with a dot.
    """
    has_separator = any(character in name for character in "/\\\0")
    if not name or name.startswith(".") or has_separator or len(name) > 200:
        raise DataError(
            f"{where}: {name!r} is no clip id. Ids become file names: no '/' or '\\' in them, no '.' in front, 1 "
            "to 200 characters."
        )
    return name


def parse_number(text: str, where: str) -> float:
    """A finite number written as text.

    Raises:
        DataError: If it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {text!r} is no number. Take the file as its authors publish it.")
    return value


def check_unique(names: Sequence[str], where: str) -> None:
    """Refuse names that occur more than once.

    Raises:
        DataError: Naming one of them.
    """
    repeats = len(names) - len(set(names))
    if repeats:
        name = next(name for name, count in Counter(names).items() if count > 1)
        raise DataError(
            f"{where}: {repeats} ids occur more than once, such as {name!r}. Each clip is listed once; take the "
            "file as its authors publish it."
        )


def number_repeats(names: Sequence[str]) -> list[str]:
    """Names made unique: `name` where it occurs first, then `name#2`, `name#3`, ..."""
    counts: Counter[str] = Counter()
    unique = []
    for name in names:
        counts[name] += 1
        unique.append(name if counts[name] == 1 else f"{name}#{counts[name]}")
    return unique
