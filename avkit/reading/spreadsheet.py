# SPDX-License-Identifier: Apache-2.0
"""Spreadsheets of others: the rows of the first sheet of an `.xlsx` file."""

from pathlib import Path
from zipfile import ZipFile

from avkit.errors import file_error
from avkit.reading.boundary import file_errors

#: Bytes that a spreadsheet may unpack to.
_MAX_UNPACKED = 2**26
_ADVICE = "Download it again, or save its sheet as CSV."


def spreadsheet_rows(path: str | Path) -> list[tuple[int, list[str]]]:
    """Number of each row of the first sheet that is not empty, and its cells as text; empty cells are empty text.

    Raises:
        FileError: If it cannot be read, unpacks to an unlikely size, or openpyxl is not installed.
    """
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise file_error(
            path,
            "is a spreadsheet, and openpyxl, which reads it, is not installed",
            "Install it with pip install 'avkit[spreadsheet]', or save the sheet as CSV.",
        ) from error
    with file_errors(path, "cannot be read as a spreadsheet", _ADVICE):
        with ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _MAX_UNPACKED:
            raise file_error(
                path, f"unpacks to {size} bytes, and spreadsheets of up to {_MAX_UNPACKED} are read", _ADVICE
            )
        workbook = load_workbook(path, read_only=True, data_only=True)
        rows = []
        for number, values in enumerate(workbook.worksheets[0].iter_rows(values_only=True), start=1):
            cells = ["" if value is None else str(value) for value in values]
            if any(cells):
                rows.append((number, cells))
        workbook.close()
    return rows
