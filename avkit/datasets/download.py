# SPDX-License-Identifier: Apache-2.0
"""One file by HTTP: a download that was cut off goes on where it was; the file appears when it is whole and right."""

import errno
import os
import ssl
import time
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from avkit.errors import AvkitError, DataError
from avkit.files import cannot_write
from avkit.reading.boundary import reason_of
from avkit.reading.digests import has_digest
from avkit.reading.hub import why_unreachable

#: Seconds without a byte after which a connection has failed.
_SILENT_SECONDS = 20.0
#: How often a download goes on by itself, and the seconds before it does.
_ATTEMPTS = 4
_PAUSE_SECONDS = 1.0
_CHUNK = 2**16
#: Bytes of a file of which no size is known, at most.
_MAX_BYTES = 64 * 2**20
_RANGE_NOT_SATISFIABLE = 416
_PARTIAL = 206
#: What a server means to be tried again.
_BUSY = (429, 500, 502, 503, 504)


class DownloadError(DataError):
    """A file cannot be downloaded, or is not the one that was published."""


class _CutOffError(Exception):
    """A connection ended before the file did."""


def download(address: str, path: Path, digest: str, size: int | None = None) -> None:
    """Download a file that does not exist here yet.

    Bytes are kept beside it in `.NAME.DIGITS.part`, from which the next call goes on.

    Args:
        address: Where it is, `http://` or `https://`.
        path: Where to put it.
        digest: Of its content, see `has_digest`.
        size: Its bytes, where they are known.

    Raises:
        DownloadError: If its server cannot be reached or does not give it, its content is another, or it cannot be
            written.
        WriteError: If the disk is full.
    """
    part = path.with_name(f".{path.name}.{digest[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _fetch(address, part, size or _MAX_BYTES)
        content = part.read_bytes()
        if not has_digest(content, digest):
            part.unlink()
            raise DownloadError(
                f"{address} gave {len(content)} bytes whose digest is not the published {digest}. Nothing was kept. "
                "Try again; if it stays so, the file was changed, or a proxy answered in its place."
            )
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error


def _fetch(address: str, part: Path, limit: int) -> None:
    """Bring the part to its full length, by several connections where one is cut off."""
    reason = why_unreachable(address)
    if reason:
        raise _unreachable(address, reason)
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        try:
            _fetch_rest(address, part, limit)
            return
        except _CutOffError as error:
            reason = str(error)
    raise _unreachable(address, reason)


def _fetch_rest(address: str, part: Path, limit: int) -> None:
    """Add the bytes that are missing.

    Raises:
        _CutOffError: If the connection ends before the file does.
        DownloadError: If the server refuses.
    """
    begun = part.stat().st_size if part.exists() else 0
    request = Request(address, headers={"Range": f"bytes={begun}-"} if begun else {})
    try:
        with urlopen(request, timeout=_SILENT_SECONDS) as answer:
            _append(answer, part, begun, limit)
    except HTTPError as error:
        if error.code == _RANGE_NOT_SATISFIABLE and begun:  # it is whole, which its digest tells
            return
        if error.code in _BUSY:
            raise _CutOffError(f"{error.code} {error.reason}") from error
        raise DownloadError(
            f"{address} is not given ({error.code} {error.reason}). Open it in a browser; name another server that has "
            "the file with --mirror, or put the file there yourself."
        ) from error
    except (HTTPException, ssl.SSLError, TimeoutError, ConnectionError, URLError) as error:
        cause = error.reason if isinstance(error, URLError) else error
        raise _CutOffError(str(cause) or type(cause).__name__) from error


def _append(answer: HTTPResponse, part: Path, begun: int, limit: int) -> None:
    """Write what a server answers behind what is there, or in its place where the server sends all of it."""
    goes_on = answer.status == _PARTIAL and answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-")
    total = begun if goes_on else 0
    expected = answer.headers.get("Content-Length")
    end = total + int(expected) if expected is not None and expected.isdigit() else None
    with part.open("ab" if goes_on else "wb") as file:
        while chunk := answer.read(_CHUNK):
            total += len(chunk)
            if total > limit:
                file.truncate(0)
                raise DownloadError(
                    f"{answer.url} sends more than {limit} bytes, and the published file has no more. A proxy or a "
                    "page may have answered in its place: open the address in a browser."
                )
            file.write(chunk)
    if end is not None and total < end:
        raise _CutOffError(f"the connection ended after {total} of {end} bytes")


def unwritable(path: Path, error: OSError) -> AvkitError:
    """The error for a file or folder that cannot be written: a full disk, or the system's own reason."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return cannot_write(path, error)
    return DownloadError(f"{path} cannot be written ({reason_of(error)}). Name another folder with --root.")


def _unreachable(address: str, reason: str) -> DownloadError:
    return DownloadError(
        f"{address} cannot be downloaded: {reason}. What came is kept; run the command again, which goes on from "
        "there, or name another server that has the files with --mirror."
    )
