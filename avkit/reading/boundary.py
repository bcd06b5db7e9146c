# SPDX-License-Identifier: Apache-2.0
"""From whatever a library raises to one error that names the file, the place in it, what is wrong and what to do."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avkit.errors import AvkitError, FileError

#: Characters of a library's message that are passed on.
_MAX_REASON = 160


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
    try:
        yield
    except AvkitError:
        raise
    except FileNotFoundError as error:
        raise kind(f"{path} does not exist. Check the spelling of the path.") from error
    except Exception as error:
        raise kind(f"{path} {problem} ({reason_of(error)}). {advice}") from error


def reason_of(error: BaseException) -> str:
    """What an exception says, in one short line; the name of its type where it says nothing."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    if isinstance(error, RecursionError):
        text = "it is nested too deeply"
    if isinstance(error, MemoryError):
        text = text or "it asks for more memory than there is"
    if isinstance(error, zlib.error):
        text = f"damaged compressed data, {text}"
    line = " ".join(text.split())
    if len(line) > _MAX_REASON:
        line = f"{line[:_MAX_REASON]}..."
    return line or type(error).__name__


def read_bytes(path: str | Path) -> bytes:
    """The bytes of a file.

    Raises:
        FileError: If it cannot be read.
    """
    with file_errors(path, "cannot be read"):
        return Path(path).read_bytes()
