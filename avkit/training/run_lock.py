# SPDX-License-Identifier: Apache-2.0
"""A lock on a run's folder, so that two trainings never write into one."""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from avkit.errors import RunError

_NAME = "lock.json"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder in the block.

    The lock is the system's on the file `lock.json`, which it takes from processes that end in whatever way; the file
    says who holds it. Forks do not inherit it.

    Raises:
        RunError: If another process holds it.
    """
    if sys.platform == "win32":  # which has no such locks
        yield
        return
    file = _acquire(folder / _NAME)
    try:
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        file.seek(0)
        file.truncate()
        file.write(json.dumps(holder) + "\n")
        file.flush()
        yield
    finally:
        (folder / _NAME).unlink(missing_ok=True)  # before it is released: who opens it later makes a new one
        file.close()


def _acquire(path: Path) -> IO[str]:
    """The file, opened and locked.

    Raises:
        RunError: If another process holds the lock.
    """
    assert sys.platform != "win32"
    import fcntl

    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            error = _held_error(path, file.read())
            file.close()
            raise error from None
        except OSError:  # a file system without locks
            return file
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # its holder has deleted it meanwhile


def _held_error(path: Path, text: str) -> RunError:
    try:
        holder = json.loads(text)
        who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):  # it has not been written yet
        who = "another process"
    return RunError(
        f"{path.parent} is being trained by {who}. Wait for it, end it, or train into another folder with --name NAME."
    )
