# SPDX-License-Identifier: Apache-2.0
"""Arrays in `.npy`, `.npz` and HDF5 files: what a header states is checked before memory is taken."""

import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from avkit.errors import file_error
from avkit.reading.boundary import file_errors
from avkit.reading.checksums import SEAL_BYTES, Seal, read_seal
from avkit.reading.copies import local_copy

#: Bytes that an array of an HDF5 file may have whatever it takes in the file, and bytes per byte that it takes there.
_ALWAYS_READ = 2**24
_MAX_RATIO = 200
#: What to do about a damaged array.
_ADVICE = "Copy or extract it again."
_NO_HDF5 = "cannot be read as HDF5: it is cut off, damaged or another file"
#: Bytes that the arrays of an `.npz` may have together.
_MAX_ARCHIVE = 2**28


def read_npy(path: str | Path, of: str = "numbers") -> NDArray[Any]:
    """A `.npy` of numbers, in the byte order of this machine.

    Args:
        path: The file.
        of: What the numbers are, for messages.

    Raises:
        FileError: If it is damaged, shorter or longer than its header says, or holds anything but numbers. Python
            objects are pickles, which can run code.
    """
    path = Path(path)
    with (
        file_errors(path, "cannot be read as an array of numbers", _ADVICE),
        local_copy(path) as here,
        here.open("rb") as file,
    ):
        size = here.stat().st_size
        shape, fortran, dtype = _read_header(path, file)
        start = file.tell()
        nbytes = _check_numbers(path, shape, dtype, of)
        seal = _check_length(path, size - start, nbytes, file)
        file.seek(start)
        values = np.empty(nbytes // dtype.itemsize, dtype)
        if file.readinto(values.data.cast("B")) < nbytes:
            raise file_error(path, "is cut off", _ADVICE)
        if seal is not None:
            seal.check(path, _bytes_before(file, start), values.data.cast("B"))
    return _shaped(values, shape, fortran=fortran)


def _bytes_before(file: BinaryIO, end: int) -> bytes:
    file.seek(0)
    return file.read(end)


def _check_length(path: Path, present: int, stated: int, file: BinaryIO) -> Seal | None:
    """Refuse a file that has not the bytes that its header states; returns the seal behind them, if there is one."""
    if present == stated + SEAL_BYTES:
        file.seek(-SEAL_BYTES, io.SEEK_END)
        seal = read_seal(file.read(SEAL_BYTES))
        if seal is not None:
            return seal
    if present != stated:
        raise file_error(
            path,
            f"is damaged: its header states {stated} bytes of numbers and {present} are there",
            _ADVICE,
        )
    return None


def _read_header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:  # 3.0 is for names of fields in records
        raise file_error(
            path, f"cannot be read as an array of numbers: its version is {version}", "Write it by numpy.save."
        )
    shape, fortran, dtype = readers[version](file)
    return shape, fortran, dtype


def _check_numbers(path: Path, shape: Sequence[int], dtype: np.dtype[Any], of: str = "numbers") -> int:
    """Bytes of an array of numbers; refuses others."""
    if dtype.hasobject:
        raise file_error(path, "holds Python objects, which can run code", "Save numbers only.")
    if dtype.kind not in "biuf" or any(length < 0 for length in shape):
        raise file_error(path, f"is no array of {of}: {dtype} {tuple(shape)}", _ADVICE)
    return math.prod(shape) * dtype.itemsize


def _shaped(values: NDArray[Any], shape: tuple[int, ...], *, fortran: bool) -> NDArray[Any]:
    values = values.reshape(shape, order="F" if fortran else "C")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def npz_names(path: str | Path) -> list[str]:
    """Names of the arrays of an `.npz`.

    Raises:
        FileError: If it is damaged.
    """
    path = Path(path)
    with (
        file_errors(path, "cannot be read as arrays (.npz)", "Download it again."),
        local_copy(path) as here,
        zipfile.ZipFile(here) as archive,
    ):
        return [name.removesuffix(".npy") for name in archive.namelist()]


def read_npz(path: str | Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Some arrays of an `.npz`, by name.

    Raises:
        FileError: If it is damaged, lacks one, or states an unlikely size.
    """
    path = Path(path)
    advice = "Download it again."
    with (
        file_errors(path, "cannot be read as arrays (.npz)", advice),
        local_copy(path) as here,
        zipfile.ZipFile(here) as archive,
    ):
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        missing = sorted(set(names) - members.keys())
        if missing:
            raise file_error(path, f"lacks {', '.join(missing)}; it holds {', '.join(members) or 'nothing'}", advice)
        total = sum(members[name].file_size for name in names)
        if total > _MAX_ARCHIVE:
            raise file_error(path, f"states {total} bytes, and {_MAX_ARCHIVE} are accepted", advice)
        arrays: dict[str, NDArray[Any]] = {}
        for name in names:
            data = archive.read(members[name])
            file = io.BytesIO(data)
            shape, fortran, dtype = _read_header(path, file)
            nbytes = _check_numbers(path, shape, dtype)
            if len(data) - file.tell() != nbytes:
                raise file_error(
                    path, f"is damaged: {name} states {nbytes} bytes and has {len(data) - file.tell()}", advice
                )
            arrays[name] = _shaped(np.frombuffer(bytearray(file.read()), dtype), shape, fortran=fortran)
    return arrays


@contextmanager
def open_hdf5(path: str | Path, advice: str = "Copy or download it again.") -> Iterator[Any]:
    """An HDF5 file, for reading; whatever h5py raises in the block becomes a `FileError`."""
    import h5py

    with (
        file_errors(path, "cannot be read as HDF5: it is cut off, damaged or another file", advice),
        local_copy(path) as here,
        h5py.File(here, "r") as file,
    ):
        yield file


def keep_dataset_open(path: Path, key: str) -> Any:
    """An array of an HDF5 file with rows, whose file stays open as long as the array is used; as `open_dataset`."""
    import h5py

    with file_errors(path, _NO_HDF5, _ADVICE), local_copy(path) as here:  # an open file stays, deleted or not
        values = open_dataset(h5py.File(here, "r"), path, key, by_row=True)
        if not values.shape:
            raise file_error(path, f"is of another kind: its array {key!r} has no rows", _ADVICE)
    return values


def read_dataset(file: Any, path: Path, key: str) -> NDArray[Any]:
    """An array of an open HDF5 file; as `open_dataset`."""
    return np.asarray(open_dataset(file, path, key)[()])


def open_dataset(file: Any, path: Path, key: str, *, by_row: bool = False) -> Any:
    """An array of an open HDF5 file, to be read in parts.

    Args:
        file: The open file.
        path: Its path.
        key: Name of the array.
        by_row: Whether it will be read row by row; then its size is that of a row.

    Raises:
        FileError: If it is missing, lies in another file, or states far more than the file holds.
    """
    import h5py

    link = file.get(key, getlink=True)
    values = file.get(key) if isinstance(link, h5py.HardLink) else None
    if not isinstance(values, h5py.Dataset):
        held = ", ".join(sorted(file)[:10]) or "nothing"
        raise file_error(
            path, f"cannot be read as HDF5 with the array {key!r}: it holds {held}", "Copy or download it again."
        )
    if values.is_virtual or values.external:
        raise file_error(path, f"is not all: its array {key!r} lies in other files", "Copy all into one file.")
    shape = values.shape or ()
    stated = math.prod(shape[1:] if by_row else shape) * values.dtype.itemsize
    if stated > max(_ALWAYS_READ, _MAX_RATIO * values.id.get_storage_size()):
        raise file_error(
            path,
            f"is damaged: its array {key!r} states {stated} bytes and takes {values.id.get_storage_size()} in the file",
            "Copy or download it again.",
        )
    return values
