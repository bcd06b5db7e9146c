# SPDX-License-Identifier: Apache-2.0
"""Files of object storage by URL (`s3://`, `gs://`, `hf://`, ...), by way of fsspec and the package of its scheme.

A part of a file is read where it is; a whole file is copied into a folder of bounded size on this machine, from which
the copies that were used longest ago are deleted. `AVKIT_CACHE` names that folder, `AVKIT_CACHE_GB` its size.
"""

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from avkit.errors import FileError
from avkit.reading.boundary import reason_of

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
_USUAL_GB = 50.0
#: Errors of this machine's disk.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
#: Digits in the name of the folder of a copy.
_KEY_DIGITS = 16


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
    system, path = _system(url)
    with _reaching(url):
        return bool(system.exists(path))


def size_of(url: str) -> int:
    """Bytes of a file.

    Raises:
        FileError: If it is not there, or its place cannot be reached.
    """
    system, path = _system(url)
    with _reaching(url):
        return int(system.size(path))


def read_range(url: str, start: int, length: int) -> bytes:
    """Some bytes of a file, fewer where it ends before.

    Raises:
        FileError: If it is not there, or its place cannot be reached.
    """
    system, path = _system(url)
    with _reaching(url):
        return bytes(system.cat_file(path, start=start, end=start + length))


def local_file(path: str | Path) -> Path:
    """A file on this machine: the path itself, or a copy of what is at its URL, made again where that has changed.

    Raises:
        FileError: If it is not there, its place cannot be reached, or it is larger than all copies may be.
    """
    url = url_of(path)
    if url is None:
        return Path(path)
    system, remote = _system(url)
    with _reaching(url):
        size = int(system.size(remote))
        version = str(system.ukey(remote))
    name = PurePosixPath(remote).name
    key = hashlib.sha256(f"{url}\n{version}\n{size}".encode()).hexdigest()[:_KEY_DIGITS]
    copy = cache_folder() / key / name
    if copy.is_file() and copy.stat().st_size == size:
        with suppress(OSError):
            os.utime(copy)
        return copy
    _make_room(url, size)
    part = copy.with_name(f".{name}-{os.getpid()}")
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with _reaching(url):
            system.get_file(remote, str(part))
        part.replace(copy)
    except OSError as error:
        raise FileError(
            f"{url} cannot be copied into {cache_folder()} ({reason_of(error)}). Free space, or name another folder "
            "with AVKIT_CACHE."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return copy


def cache_folder() -> Path:
    """Folder of the copies."""
    return Path(os.environ.get("AVKIT_CACHE") or Path.home() / ".cache" / "avkit")


def _make_room(url: str, size: int) -> None:
    """Delete the copies that were used longest ago until a file fits.

    Raises:
        FileError: If it is larger than all copies may be.
    """
    text = os.environ.get("AVKIT_CACHE_GB") or str(_USUAL_GB)
    try:
        limit = float(text) * 1e9
    except ValueError:
        raise FileError(f"AVKIT_CACHE_GB is {text!r}; give a number of GB, such as 50.") from None
    folder = cache_folder()
    if size > limit:
        raise FileError(
            f"{url} has {size / 1e9:.3g} GB, and the copies in {folder} may have {limit / 1e9:g} GB. Raise "
            "AVKIT_CACHE_GB, or name another folder with AVKIT_CACHE."
        )
    copies = [(path.stat(), path) for path in folder.glob(f"{'[0-9a-f]' * _KEY_DIGITS}/*") if path.is_file()]
    used = sum(status.st_size for status, _ in copies)
    for status, path in sorted(copies, key=lambda copy: copy[0].st_mtime):
        if used + size <= limit:
            return
        path.unlink(missing_ok=True)
        with suppress(OSError):  # a file is being copied into it
            path.parent.rmdir()
        used -= status.st_size


def _system(url: str) -> tuple[Any, str]:
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
        raise FileError(f"{url} cannot be reached ({reason_of(error)}). {_ADVICE}") from error
    return system, path


@contextmanager
def _reaching(url: str) -> Iterator[None]:
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
        raise FileError(f"{url} cannot be reached ({reason_of(error)}). {_ADVICE}") from error
