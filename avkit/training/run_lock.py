# SPDX-License-Identifier: Apache-2.0
"""A lock on a run's folder, so that two trainings never write into one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avkit.errors import RunError
from avkit.files import hold, release_lock


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder in the block; the file `lock.json` says who holds it.

    Raises:
        RunError: If another process holds it.
    """
    try:
        lock = hold(folder / "lock.json")
    except BlockingIOError as error:
        raise RunError(
            f"{folder} is being trained by {error}. Wait for it, end it, or train into another folder with --name NAME."
        ) from None
    try:
        yield
    finally:
        release_lock(lock)
