# SPDX-License-Identifier: Apache-2.0
"""Atomic writing of files: a reader sees the old content or the new, never a part."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avkit.errors import AvkitError


class WriteError(AvkitError):
    """A file cannot be written; its old content is unchanged."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary file next to `path`, which replaces it when the block ends, and is deleted when the block raises.

    Args:
        path: The file to write; its folder is created when missing. The temporary file has the same suffix.

    Raises:
        WriteError: If the disk is full or the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
    except OSError as e:
        raise cannot_write(path, e) from e
    part = Path(name)
    try:
        yield part
        with part.open("rb") as f:
            os.fsync(f.fileno())
        part.chmod(0o644)  # mkstemp makes files that only their owner can read
        part.replace(path)
    except OSError as e:
        raise cannot_write(path, e) from e
    finally:
        part.unlink(missing_ok=True)


def write_file(path: Path, content: bytes | str) -> Path:
    """Write bytes, or text as UTF-8, and return the path."""
    if isinstance(content, str):
        content = content.encode("utf-8", "replace")
    with atomic(path) as part:
        part.write_bytes(content)
    return path


def cannot_write(path: Path, e: OSError) -> WriteError:
    """The error for a write that failed: a full disk, or the system's own reason."""
    if e.errno == errno.ENOSPC:
        return WriteError(
            f"The disk is full: {path} was not written; its old content is unchanged. Free space and try again."
        )
    return WriteError(
        f"Cannot write {path}: {e.strerror or e}. Choose another folder with --out, or make this one writable."
    )
