# SPDX-License-Identifier: Apache-2.0
"""Copies of files of object storage in a folder of bounded size on this machine.

`AVKIT_CACHE` names the folder, `AVKIT_CACHE_GB` its size. Where a further file does not fit, the copies that were used
longest ago are deleted, but none that some process is reading: readers hold a lock on the copy. Processes that copy at
one time may exceed the size by the files that they copy.
"""

import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from avkit.errors import FileError
from avkit.reading.reasons import reason_of
from avkit.reading.remote import find_system, reaching, url_of

_USUAL_GB = 50.0
#: Digits in the name of the folder of a copy.
_KEY_DIGITS = 16
#: Seconds after which a copy that is not whole is taken for left over.
_OLD = 24 * 3600.0


@dataclass
class _Held:
    """A copy that this process reads.

    Attributes:
        file: The open copy.
        readers: How many read it.
    """

    file: IO[bytes]
    readers: int = 0


#: Copies that this process reads, by URL; and what makes changes of it one after the other.
_HELD: dict[str, _Held] = {}
_CHANGE = threading.RLock()


@contextmanager
def local_copy(path: str | Path) -> Iterator[Path]:
    """A file on this machine while the block runs: the path itself, or a copy of what is at its URL.

    Raises:
        FileError: If it is not there, its place cannot be reached, or there is no room for it.
    """
    url = url_of(path)
    if url is None:
        yield Path(path)
        return
    path = _hold(url)
    try:
        yield path
    finally:
        _release(url)


def kept_copy(path: str | Path) -> Path:
    """As `local_copy`, until the process ends: for files that are opened again and again.

    Raises:
        FileError: If it is not there, its place cannot be reached, or there is no room for it.
    """
    url = url_of(path)
    if url is None:
        return Path(path)
    return _hold(url)


def _hold(url: str) -> Path:
    """Keep a copy from being deleted until `_release`; one that is held already is not asked for again."""
    with _CHANGE:
        held = _HELD.get(url)
        if held is not None:
            held.readers += 1
            return Path(held.file.name)
    file = _take(url)
    with _CHANGE:
        held = _HELD.setdefault(url, _Held(file))
        if held.file is not file:  # another thread was faster
            file.close()
        held.readers += 1
        return Path(held.file.name)


def _release(url: str) -> None:
    with _CHANGE:
        held = _HELD[url]
        held.readers -= 1
        if not held.readers:
            del _HELD[url]
            held.file.close()


def cache_folder() -> Path:
    """Folder of the copies."""
    return Path(os.environ.get("AVKIT_CACHE") or Path.home() / ".cache" / "avkit")


def _take(url: str) -> IO[bytes]:
    """An open copy of what is at a URL, made again where that has changed; it is not deleted while it is open."""
    system, remote = find_system(url)
    with reaching(url):
        size = int(system.size(remote) or 0)
        version = str(system.ukey(remote))
    name = PurePosixPath(remote).name
    key = hashlib.sha256(f"{url}\n{version}\n{size}".encode()).hexdigest()[:_KEY_DIGITS]
    copy = cache_folder() / key / name
    while True:
        if not (copy.is_file() and copy.stat().st_size == size):
            _copy(url, copy, size)
        try:
            file = copy.open("rb")
        except FileNotFoundError:  # another process made room
            continue
        _lock(file, alone=False)
        if os.fstat(file.fileno()).st_nlink:
            with suppress(OSError):
                os.utime(copy)
            return file
        file.close()


def _copy(url: str, copy: Path, size: int) -> None:
    """Copy a file; it appears when it is whole."""
    _make_room(url, size)
    system, remote = find_system(url)
    part = copy.with_name(f".{copy.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with reaching(url):
            system.get_file(remote, str(part))
        part.replace(copy)
    except OSError as error:
        raise FileError(
            f"{url} cannot be copied into {cache_folder()} ({reason_of(error)}). Free space, or name another folder "
            "with AVKIT_CACHE."
        ) from error
    finally:
        part.unlink(missing_ok=True)
        with suppress(OSError):  # the copy is there, or another is being made
            copy.parent.rmdir()


def _limit() -> float:
    """Bytes that all copies may have."""
    text = os.environ.get("AVKIT_CACHE_GB") or str(_USUAL_GB)
    try:
        return float(text) * 1e9
    except ValueError:
        raise FileError(f"AVKIT_CACHE_GB is {text!r}; give a number of GB, such as 50.") from None


def _make_room(url: str, size: int) -> None:
    """Delete the copies that were used longest ago, and that nobody reads, until a file fits.

    Raises:
        FileError: If it does not.
    """
    limit = _limit()
    folder = cache_folder()
    advice = "Raise AVKIT_CACHE_GB, or name another folder with AVKIT_CACHE."
    if size > limit:
        raise FileError(
            f"{url} has {size / 1e9:.3g} GB, and the copies in {folder} may have {limit / 1e9:g} GB. {advice}"
        )
    copies = []
    for path in folder.glob(f"{'[0-9a-f]' * _KEY_DIGITS}/*"):
        with suppress(FileNotFoundError):
            copies.append((path.stat(), path))
    used = sum(status.st_size for status, _ in copies)
    for status, path in sorted(copies, key=lambda copy: copy[0].st_mtime):
        if used + size <= limit:
            return
        begun = path.name.startswith(".") and time.time() - status.st_mtime < _OLD
        if not begun and _delete(path):
            used -= status.st_size
    if used + size > limit:
        raise FileError(
            f"{url} has {size / 1e9:.3g} GB, and of the {limit / 1e9:g} GB that copies in {folder} may have, "
            f"{used / 1e9:.3g} GB are being read or written. {advice}"
        )


def _delete(copy: Path) -> bool:
    """Delete a copy and its folder, unless somebody reads it; returns whether it is gone."""
    try:
        with copy.open("rb") as file:
            if not _lock(file, alone=True):
                return False
            copy.unlink(missing_ok=True)
    except FileNotFoundError:
        return True
    except OSError:  # of another user, or open on Windows
        return False
    with suppress(OSError):  # a file is being copied into it
        copy.parent.rmdir()
    return True


def _lock(file: IO[bytes], *, alone: bool) -> bool:
    """Lock a copy for reading, or to delete it; False where another's lock forbids that."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
