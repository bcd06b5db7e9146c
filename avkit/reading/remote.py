# SPDX-License-Identifier: Apache-2.0
"""Files and folders of object storage by URL (`s3://`, `gs://`, `hf://`, ...), by way of fsspec.

A part of a file is read where it is; whole files are copied, see `avkit.reading.copies`.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from avkit.errors import FileError, UnreachableError
from avkit.reading.reasons import reason_of

#: A URL, also where `Path` has taken one of its slashes; a drive of Windows has one letter.
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/{1,3}(?P<rest>[^/].*)")
_ADVICE = "Check bucket, network and credentials."
#: Packages of schemes that fsspec does not have itself.
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "hf": "huggingface_hub",
    "az": "adlfs",
    "abfs": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
}
#: Errors of this machine's disk.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def url_of(path: str | Path) -> str | None:
    """The URL that a text or a path is; None for a place on this machine."""
    found = _URL.fullmatch(str(path))
    if found is None:
        return None
    root = "/" if found["scheme"] in ("file", "local") else ""
    return f"{found['scheme']}://{root}{found['rest']}"


def exists(url: str) -> bool:
    """Whether there is a file or folder at a URL.

    Raises:
        FileError: If its place cannot be reached.
    """
    system, path = find_system(url)
    with reaching(url):
        return bool(system.exists(path))


def size_of(url: str) -> int:
    """Bytes of a file.

    Raises:
        FileError: If it is not there, or its place cannot be reached.
    """
    system, path = find_system(url)
    with reaching(url):
        return int(system.size(path))


def read_range(url: str, start: int, length: int) -> bytes:
    """Some bytes of a file, fewer where it ends before.

    Raises:
        FileError: If it is not there, or its place cannot be reached.
    """
    system, path = find_system(url)
    with reaching(url):
        return bytes(system.cat_file(path, start=start, end=start + length))


def read_ends(path: str | Path, length: int) -> tuple[int, bytes]:
    """Size of a file, here or at a URL, and some bytes of its start and of its end.

    Raises:
        OSError: If it is not here.
        FileError: If it is not at its URL, or that cannot be reached.
    """
    url = url_of(path)
    if url is None:
        size = Path(path).stat().st_size
        with Path(path).open("rb") as file:
            start = file.read(length)
            file.seek(max(0, size - length))
            return size, start + file.read(length)
    size = size_of(url)
    return size, read_range(url, 0, length) + read_range(url, max(0, size - length), length)


@dataclass(frozen=True)
class FileState:
    """Which file it is, and in what state.

    Attributes:
        place: Its whole path, or its URL.
        size: Bytes.
        changed: When it was changed last, in nanoseconds since 1970; 0 where its place does not tell.
    """

    place: str
    size: int
    changed: int


def state_of(path: str | Path) -> FileState:
    """The state of a file, here or at a URL.

    Raises:
        OSError: If it is not here.
        FileError: If it is not at its URL, or that cannot be reached.
    """
    url = url_of(path)
    if url is None:
        whole = Path(path).resolve()
        status = whole.stat()
        return FileState(str(whole), status.st_size, status.st_mtime_ns)
    system, file = find_system(url)
    with reaching(url):
        size = int(system.size(file) or 0)
        try:
            changed = int(system.modified(file).timestamp() * 1e9)
        except NotImplementedError:
            changed = 0
    return FileState(url, size, changed)


def whole_path(path: str | Path) -> str:
    """The whole path of a file, which need not exist, or its URL."""
    return url_of(path) or str(Path(path).resolve())


@contextmanager
def open_url(url: str) -> Iterator[IO[bytes]]:
    """A file to be read in parts where it is.

    Raises:
        FileError: If it is not there, or its place cannot be reached.
    """
    system, path = find_system(url)
    with reaching(url):
        file = system.open(path, "rb")
    with file:
        yield file


def list_names(path: str | Path) -> list[str]:
    """Names of the files and folders in a folder, here or at a URL; none where there is no such folder.

    Raises:
        FileError: If the place of a URL cannot be reached.
    """
    url = url_of(path)
    if url is None:
        try:
            return os.listdir(path)  # noqa: PTH208 - names only, fast
        except OSError:
            return []
    system, folder = find_system(url)
    with reaching(url):
        try:
            entries = system.ls(folder, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
    own = folder.rstrip("/")
    return [entry.rstrip("/").rpartition("/")[2] for entry in entries if entry.rstrip("/") != own]


def list_all(url: str) -> list[str]:
    """Paths of all files below a folder at a URL, from that folder, at any depth, in order.

    Raises:
        FileError: If its place cannot be reached, or a name leads out of the folder, as a bucket's may.
    """
    system, folder = find_system(url)
    with reaching(url):
        files = system.find(folder)
    own = folder.strip("/")
    names = sorted(file.strip("/").removeprefix(own).lstrip("/") for file in files)
    for name in names:
        if ".." in name.replace("\\", "/").split("/"):
            raise FileError(
                f"{url} names a file {name!r}, which leads out of the folder. Remove it, or use another copy."
            )
    return names


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder, here or at a URL.

    Raises:
        FileError: If the place of a URL cannot be reached.
    """
    url = url_of(path)
    if url is None:
        return Path(path).is_dir()
    system, folder = find_system(url)
    with reaching(url):
        return bool(system.isdir(folder))


def is_file(path: str | Path) -> bool:
    """Whether there is a file, here or at a URL.

    Raises:
        FileError: If the place of a URL cannot be reached.
    """
    url = url_of(path)
    if url is None:
        return Path(path).is_file()
    system, file = find_system(url)
    with reaching(url):
        return bool(system.isfile(file))


def is_there(path: str | Path) -> bool:
    """Whether there is a file or folder, here or at a URL.

    Raises:
        FileError: If the place of a URL cannot be reached.
    """
    url = url_of(path)
    return Path(path).exists() if url is None else exists(url)


def find_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Raises:
        FileError: If a package is missing, or the scheme is unknown.
    """
    scheme = url.partition("://")[0]
    package = _PACKAGES.get(scheme, "the fsspec package of that scheme")
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise FileError(f"{url} needs {package}, which is not installed. Install it: pip install {package}") from error
    except ValueError as error:
        raise FileError(f"{url} cannot be opened: {reason_of(error)}. Give s3://, gs://, hf:// or file://.") from error
    except Exception as error:
        raise UnreachableError(f"{url} cannot be reached ({reason_of(error)}). {_ADVICE}") from error
    return system, path


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn whatever a file system raises into one line."""
    try:
        yield
    except FileError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise
        if isinstance(error, FileNotFoundError):
            raise FileError(f"{url} does not exist. Check the spelling of the URL.") from error
        raise UnreachableError(f"{url} cannot be reached ({reason_of(error)}). {_ADVICE}") from error
