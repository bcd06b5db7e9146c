# SPDX-License-Identifier: Apache-2.0
"""The first characters of a file, by which its form is recognised."""

from pathlib import Path

from avkit.errors import AvkitError
from avkit.reading.lines import iterate_lines

#: Characters that are looked at.
_LENGTH = 4096


def file_head(path: Path) -> str:
    """The first characters of a text file, from the first that is no blank; empty where it is none."""
    if not path.is_file():
        return ""
    text = ""
    try:
        for _, line in iterate_lines(path):
            text += f"{line[:_LENGTH]}\n"
            if len(text) >= _LENGTH:
                break
    except AvkitError:
        return ""
    return text.lstrip()[:_LENGTH]
