# SPDX-License-Identifier: Apache-2.0
"""Annotation files as people have them: gzipped or not, with a BOM, with CRLF, cut off, or saved by a spreadsheet."""

import csv
import gzip
import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.errors import DataError

_DELIMITER_NAMES = {"\t": "tabs", ",": "commas", "&": "'&'"}


def read_text(path: Path) -> str:
    """A text file as UTF-8 with plain line ends; `.gz` is unpacked.

    Raises:
        DataError: If it cannot be read, is cut off, or is no UTF-8.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}). Save it again as UTF-8.") from error
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read ({error}). Download it again.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


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
    reader = csv.reader(
        io.StringIO(text), delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    )
    header = [cell.strip() for cell in next(reader, [])]
    missing = [column for column in columns if column not in header]
    if missing:
        first = text.split("\n", 1)[0][:80]
        raise DataError(
            f"{path}: the header {first!r} has no column {', '.join(missing)}. The columns {', '.join(columns)} are "
            f"separated by {name}; take the file as its authors publish it, not saved again by a spreadsheet or editor."
        )
    rows = []
    for cells in reader:
        if _is_blank(cells):
            continue
        if len(cells) != len(header):
            raise DataError(
                f"{path}, line {reader.line_num}: {len(cells)} fields where the header has {len(header)}, separated by "
                f"{name}: {delimiter.join(cells)[:80]!r}. Take the file as its authors publish it."
            )
        rows.append(dict(zip(header, cells, strict=True)))
    return rows


def read_cells(text: str) -> list[list[str]]:
    """Rows of a table without a header, separated by commas; blank rows are left out."""
    rows = []
    for cells in csv.reader(io.StringIO(text)):
        if not _is_blank(cells):
            rows.append([cell.strip() for cell in cells])
    return rows


def _is_blank(cells: list[str]) -> bool:
    return not any(cell.strip() for cell in cells)


def read_json(path: Path) -> Any:
    """A JSON file, `.gz` too.

    Raises:
        DataError: If it is no JSON.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is no whole JSON (line {error.lineno}, column {error.colno}: {error.msg}). Download it again."
        ) from error


def read_array(path: Path, key: str) -> NDArray[Any]:
    """An array of an HDF5 file.

    Raises:
        DataError: If the file is cut off or lacks the key.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            array: NDArray[Any] = np.asarray(file[key])
            return array
    except (OSError, KeyError) as error:
        raise DataError(
            f"{path} cannot be read as HDF5 with the array {key!r}: it is cut off or another file ({error}). Download "
            "it again."
        ) from error


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
