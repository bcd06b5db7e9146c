# SPDX-License-Identifier: Apache-2.0
"""From whatever a library raises to one error that names the file, the place in it, what is wrong and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avkit.errors import AvkitError, FileError
from avkit.reading.copies import local_copy
from avkit.reading.reasons import reason_of as reason_of
from avkit.reading.remote import url_of


@contextmanager
def file_errors(
    path: str | Path, problem: str, advice: str = "Copy or download it again.", kind: type[AvkitError] = FileError
) -> Iterator[None]:
    """Turn every exception of a block that reads one file into one error; put nothing but the reading into it.

    Libraries raise nearly anything for damaged files: `struct.error`, `SyntaxError`, `MemoryError`, `RecursionError`.

    Args:
        path: The file.
        problem: What is wrong then, with its verb, such as `cannot be read as HDF5`.
        advice: What to do about it, as a sentence.
        kind: The error to raise.

    Raises:
        AvkitError: Of `kind`, in place of whatever was raised; errors of avkit pass.
    """
    place = url_of(path) or path
    try:
        yield
    except AvkitError:
        raise
    except FileNotFoundError as error:
        raise kind(f"{place} does not exist. Check the spelling of the path.") from error
    except Exception as error:
        raise kind(f"{place} {problem} ({reason_of(error)}). {advice}") from error


def read_bytes(path: str | Path) -> bytes:
    """The bytes of a file.

    Raises:
        FileError: If it cannot be read.
    """
    with file_errors(path, "cannot be read"), local_copy(path) as file:
        return file.read_bytes()
