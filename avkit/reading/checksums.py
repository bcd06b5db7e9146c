# SPDX-License-Identifier: Apache-2.0
"""Checksums (CRC-32) that tell whether a file has changed since it was written; files without one are read as before.

- Binary files end with a seal of 12 bytes: `avkitcrc`, and the CRC-32 of what stands before it.
- Where a large part has checksums of its own, the seal is of what stands around it: `avkitgap`, first byte and length
  of that part, and the CRC-32 of all before and behind it and of these two numbers.
- Objects of JSON carry the CRC-32 of their other values as `crc32`.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

from avkit.errors import FileError, file_error

#: What `zlib.crc32` takes.
Buffer: TypeAlias = bytes | bytearray | memoryview

_MAGIC = b"avkitcrc"
_GAP_MAGIC = b"avkitgap"
_GAP_BYTES = len(_GAP_MAGIC) + 20
#: Length of a seal.
SEAL_BYTES = len(_MAGIC) + 4
#: Key of the checksum in an object of JSON.
KEY = "crc32"


@dataclass(frozen=True)
class Seal:
    """The checksum at the end of a binary file.

    Attributes:
        value: CRC-32 of what stands before the seal.
    """

    value: int

    def check(self, path: str | Path, *parts: Buffer) -> None:
        """Compare with the file's content, given in order in one or several parts.

        Raises:
            FileError: If it differs.
        """
        if crc32(*parts) != self.value:
            raise changed_error(path)


def crc32(*parts: Buffer, start: int = 0) -> int:
    """CRC-32 of some bytes, one part after the other; `start` is that of what stands before them."""
    value = start
    for part in parts:
        value = zlib.crc32(part, value)
    return value


def seal_of(*parts: Buffer) -> bytes:
    """The seal of a file that has this content."""
    return _MAGIC + struct.pack("<I", crc32(*parts))


def seal_file(path: Path) -> None:
    """Add the seal to a file that is being written."""
    with path.open("ab") as file:
        file.write(seal_of(path.read_bytes()))


def read_seal(tail: bytes) -> Seal | None:
    """The seal that the last bytes of a file are, or None where they are none."""
    if len(tail) != SEAL_BYTES or not tail.startswith(_MAGIC):
        return None
    return Seal(struct.unpack("<I", tail[len(_MAGIC) :])[0])


@dataclass(frozen=True)
class Span:
    """A part of a file.

    Attributes:
        start: Its first byte.
        length: Its number of bytes.
    """

    start: int
    length: int


def seal_around(path: Path, span: Span) -> None:
    """Add a seal of all but one part to a file that is being written."""
    head, tail = _read_around(path, span, path.stat().st_size)
    numbers = struct.pack("<QQ", span.start, span.length)
    with path.open("ab") as file:
        file.write(_GAP_MAGIC + numbers + struct.pack("<I", crc32(head, tail, numbers)))


def check_around(path: Path) -> bool:
    """Compare a file with its seal of all but one part; False where it has none, or is too short to have one.

    Raises:
        FileError: If it differs.
    """
    if not path.is_file():
        return False
    size = path.stat().st_size - _GAP_BYTES
    if size < 0:
        return False
    with path.open("rb") as file:
        file.seek(size)
        seal = file.read(_GAP_BYTES)
    if not seal.startswith(_GAP_MAGIC):
        return False
    start, length, value = struct.unpack("<QQI", seal[len(_GAP_MAGIC) :])
    if start + length > size:
        raise changed_error(path)
    head, tail = _read_around(path, Span(start, length), size)
    if crc32(head, tail, seal[len(_GAP_MAGIC) : -4]) != value:
        raise changed_error(path)
    return True


def _read_around(path: Path, span: Span, size: int) -> tuple[bytes, bytes]:
    """The bytes of a file before and behind a part, up to a size."""
    with path.open("rb") as file:
        head = file.read(span.start)
        file.seek(span.start + span.length)
        tail = file.read(size - span.start - span.length)
    return head, tail


def changed_error(path: str | Path) -> FileError:
    """The error for a file whose content does not fit its checksum."""
    return file_error(
        path, "has changed since it was written: its content does not fit its checksum", "Copy or make it again."
    )


def with_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    """An object of JSON with its checksum as the last value."""
    plain = {key: value for key, value in record.items() if key != KEY}
    return {**plain, KEY: _record_checksum(plain)}


def check_record(record: Any, where: str | Path) -> None:
    """Compare an object of JSON with its checksum; one that has none is taken as it is.

    Raises:
        FileError: If it differs.
    """
    if not isinstance(record, dict):
        return
    if KEY not in record:
        refuse_lost_checksum(record, where)
        return
    plain = {key: value for key, value in record.items() if key != KEY}
    if _record_checksum(plain) != record[KEY]:
        raise changed_error(where)


def refuse_lost_checksum(names: Iterable[str], where: str | Path) -> None:
    """Refuse a record without a checksum, one of whose names is that of a checksum but for a few letters.

    It was damaged there, and whatever else was damaged would be taken for whole.

    Raises:
        FileError: If there is such a name.
    """
    if get_close_matches(KEY, names, n=1):
        raise changed_error(where)


def _record_checksum(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return f"{crc32(text.encode()):08x}"
