# SPDX-License-Identifier: Apache-2.0
"""SHA-256 of files, in blocks, so that large ones take no memory."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from avkit.reading.boundary import file_errors
from avkit.reading.copies import local_copy

_BLOCK_BYTES = 1 << 20


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as `sha256sum` prints it.

    Raises:
        FileError: If it cannot be read.
    """
    digest = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK_BYTES))
    with file_errors(path, "cannot be read"), local_copy(path) as here, here.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()


def files_hash(files: Mapping[str, Path]) -> str:
    """SHA-256 of several files: of the lines `HASH  NAME` of `sha256sum`, in the order of their names.

    One file has its own hash, whatever its name.

    Args:
        files: Files by the names that count.
    """
    if len(files) == 1:
        return file_hash(next(iter(files.values())))
    lines = hashlib.sha256()
    for name in sorted(files):
        lines.update(f"{file_hash(files[name])}  {name}\n".encode())
    return lines.hexdigest()
