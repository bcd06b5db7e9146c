# SPDX-License-Identifier: Apache-2.0
"""Atomic writing of files: a reader sees the old content or the new, never a part."""

import errno
import json
import os
import re
import socket
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from avkit.errors import AvkitError

#: Names of temporary files: `.STEM-HOST-PID-RANDOM.SUFFIX`.
_TEMPORARY = re.compile(r"\.(?P<stem>.+)-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[a-z0-9_]{8}(?:\.\w+)?")
#: Names of temporary checkpoints of earlier versions.
_EARLIER = re.compile(r"\..+-[a-z0-9_]{8}\.(?:ckpt|safetensors)")
#: Names of temporary files of safetensors, which writes beside the file that it is given.
_SAFETENSORS = re.compile(r"\.tmp[A-Za-z0-9]{6}")
#: Age in seconds at which a temporary file whose writer cannot be asked for is taken for left over.
_OLD = 24 * 3600.0
#: How libraries in Rust and HDF5 tell the number of an error of the system.
_SYSTEM_ERROR = re.compile(r"os error (\d+)|errno = (\d+)")
#: Errors of a disk, which libraries such as torch hide behind errors of their own.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
#: Errors of file systems, such as FAT, where a file has one name only.
_NO_HARD_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)


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
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=path.suffix)
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
    except Exception as e:
        reason = None if isinstance(e, AvkitError) else _system_error(e)
        if reason is None:
            raise
        raise cannot_write(path, reason) from e
    finally:
        part.unlink(missing_ok=True)


def temporary_folder(path: Path) -> Path:
    """Make a folder beside `path` for what is to be moved to several places at once; `leftovers` lists it.

    Raises:
        WriteError: If it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=path.parent, prefix=_prefix(path)))
    except OSError as e:
        raise cannot_write(path, e) from e


def _prefix(path: Path) -> str:
    """How names of temporary files beside `path` begin: they say who writes them."""
    return f".{path.stem}-{_host()}-{os.getpid()}-"


def write_file(path: Path, content: bytes | str) -> Path:
    """Write bytes, or text as UTF-8, and return the path."""
    if isinstance(content, str):
        content = content.encode("utf-8", "replace")
    with atomic(path) as part:
        part.write_bytes(content)
    return path


def write_new_file(path: Path, content: str) -> None:
    """Write text as UTF-8 to a file that does not exist: of several processes one succeeds, and its file is whole.

    Raises:
        FileExistsError: If it exists.
        OSError: If it cannot be written.
    """
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=path.suffix)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(part).chmod(0o644)
        try:
            path.hardlink_to(part)
        except OSError as e:
            if e.errno not in _NO_HARD_LINKS:
                raise
            with path.open("x", encoding="utf-8") as file:
                file.write(content)
    finally:
        Path(part).unlink(missing_ok=True)


def cannot_write(path: Path, e: OSError) -> WriteError:
    """The error for a write that failed: a full disk, or the system's own reason."""
    if e.errno == errno.ENOSPC:
        return WriteError(
            f"The disk is full: {path} was not written; its old content is unchanged. Free space and try again."
        )
    if e.errno in (errno.EDQUOT, errno.EFBIG):
        return WriteError(
            f"{path} was not written: it would exceed a limit of this account ({e.strerror or e}); its old content is "
            "unchanged. Free space, or raise the quota (ulimit -f for single files), and try again."
        )
    return WriteError(
        f"Cannot write {path}: {e.strerror or e}. Choose another folder with --out, or make this one writable."
    )


def _system_error(e: Exception) -> OSError | None:
    """The system's error that an exception is, or a disk's error behind it; None if there is none."""
    if isinstance(e, OSError):
        return e
    cause: BaseException | None = e
    while cause is not None:
        code = cause.errno if isinstance(cause, OSError) else _stated_number(str(cause))
        if code in _DISK_ERRORS:
            return OSError(code, os.strerror(code))
        cause = cause.__cause__ or cause.__context__
    return None


def _stated_number(message: str) -> int | None:
    number = _SYSTEM_ERROR.search(message)
    return None if number is None else int(number.group(1) or number.group(2))


def leftovers(path: Path) -> list[Path]:
    """Temporary files and folders beside `path`, made for it by processes that are gone."""
    stems = {}
    for entry in path.parent.glob(".*"):
        name = _TEMPORARY.fullmatch(entry.name)
        if name is not None:
            stems[entry] = name.group("stem")
    return [entry for entry, stem in stems.items() if stem == path.stem and _is_left_over(entry, alone=False)]


def remove_leftovers(folder: Path, *, alone: bool = False) -> list[Path]:
    """Delete the temporary files that killed processes left in a folder and below; returns them.

    A file is kept while its writer may live: a process of this machine that runs, or one of another machine that wrote
    in the last day.

    Args:
        folder: The folder, which need not exist.
        alone: Whether this process alone writes into the folder, so that all temporary files are left over.
    """
    removed = []
    for path in folder.rglob(".*"):
        if path.is_file() and _is_left_over(path, alone):
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def _is_left_over(path: Path, alone: bool) -> bool:
    name = _TEMPORARY.fullmatch(path.name)
    if name is None and alone:
        return any(pattern.fullmatch(path.name) for pattern in (_EARLIER, _SAFETENSORS))
    if name is None and _SAFETENSORS.fullmatch(path.name) is None:
        return False
    if alone:
        return True
    if name is not None and name.group("host") == _host():
        return not is_running(int(name.group("pid")))
    try:
        return time.time() - path.stat().st_mtime > _OLD
    except FileNotFoundError:  # its writer is done with it
        return False


def is_running(pid: int) -> bool:
    """Whether a process of this machine runs; taken for granted on Windows, which cannot be asked."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def acquire_lock(path: Path, *, wait: bool) -> IO[str]:
    """Open a file and lock it; `release_lock` ends that, and the system when this process ends in whatever way.

    Forks do not inherit it. File systems without locks, and Windows, lock nothing.

    Raises:
        BlockingIOError: If another process holds the lock, and this one is not to wait.
    """
    while True:
        file = path.open("a+", encoding="utf-8")
        if not _is_locked(file, wait):
            return file
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # its holder has deleted it meanwhile


def _is_locked(file: IO[str], wait: bool) -> bool:
    """Lock an open file; False where there are no locks."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.lockf(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as e:
        file.close()
        raise BlockingIOError(str(e)) from e
    except OSError:
        return False
    return True


def hold(path: Path) -> IO[str]:
    """Lock a file that says which process holds it; end it with `release_lock`.

    Raises:
        BlockingIOError: If another process holds it; its text names that process.
    """
    try:
        file = acquire_lock(path, wait=False)
    except BlockingIOError:
        raise BlockingIOError(_holder(path)) from None
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    file.seek(0)
    file.truncate()
    file.write(json.dumps(holder) + "\n")
    file.flush()
    return file


def _holder(path: Path) -> str:
    """The process that holds a lock, in words."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has not been written yet
        return "another process"


def release_lock(file: IO[str]) -> None:
    """Delete a locked file and close it."""
    Path(file.name).unlink(missing_ok=True)  # before it is released: who opens it later makes a new one
    file.close()


def _host() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"
