# SPDX-License-Identifier: Apache-2.0
"""Text files of many lines, one line in memory at a time; UTF-8, gzipped or not, with a BOM or CRLF."""

import gzip
import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from avkit.errors import file_error
from avkit.reading.boundary import file_errors
from avkit.reading.copies import local_copy

#: Bytes of one line; a clip of masks has some hundred thousand.
_MAX_LINE = 2**28
#: Bytes that one byte of a `.gz` may unpack to, and those that it may unpack to whatever its own size is.
_MAX_RATIO = 200
_ALWAYS_UNPACKED = 2**24


def iterate_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Number from 1 and text of each line that is not blank.

    Raises:
        FileError: If the file cannot be read, is cut off, is no UTF-8, has an endless line, or unpacks to an unlikely
            size.
    """
    path = Path(path)
    with ExitStack() as stack:
        with file_errors(path, "cannot be read"):
            here = stack.enter_context(local_copy(path))
            size = here.stat().st_size
            plain = stack.enter_context(here.open("rb"))
        file: IO[bytes] = plain
        if path.suffix == ".gz":
            file = gzip.GzipFile(fileobj=plain)  # type: ignore[assignment]
        yield from _lines(path, file, max(_ALWAYS_UNPACKED, _MAX_RATIO * size))


def _lines(path: Path, file: IO[bytes], most: int) -> Iterator[tuple[int, str]]:
    number = 0
    total = 0
    buffered = io.BufferedReader(file) if isinstance(file, gzip.GzipFile) else file
    while True:
        with file_errors(path, "cannot be read", "Copy or download it again."):
            line = buffered.readline(_MAX_LINE)
        if not line:
            return
        number += 1
        total += len(line)
        if len(line) == _MAX_LINE:
            raise file_error(f"{path}, line {number}", f"is longer than {_MAX_LINE} bytes", "Write one sample a line.")
        if path.suffix == ".gz" and total > most:
            raise file_error(path, f"unpacks to more than {most} bytes", "Unpack it yourself and name that.")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise file_error(f"{path}, line {number}", "is not UTF-8 text", "Save it again as UTF-8.") from error
        if text:
            yield number, text
