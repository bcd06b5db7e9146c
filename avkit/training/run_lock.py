# SPDX-License-Identifier: Apache-2.0
"""A lock on a run's folder, so that two trainings never write into one."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avkit.errors import RunError
from avkit.files import acquire_lock, release_lock

_NAME = "lock.json"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder in the block.

    The lock is the system's on the file `lock.json`, which it takes from processes that end in whatever way; the file
    says who holds it.

    Raises:
        RunError: If another process holds it.
    """
    path = folder / _NAME
    try:
        file = acquire_lock(path, wait=False)
    except BlockingIOError:
        raise _held_error(path) from None
    try:
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        file.seek(0)
        file.truncate()
        file.write(json.dumps(holder) + "\n")
        file.flush()
        yield
    finally:
        release_lock(file)


def _held_error(path: Path) -> RunError:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has not been written yet
        who = "another process"
    return RunError(
        f"{path.parent} is being trained by {who}. Wait for it, end it, or train into another folder with --name NAME."
    )
