# SPDX-License-Identifier: Apache-2.0
"""The feature store: one HDF5 file per dataset and encoder.

A store holds the features of all clips one after another in one contiguous block, so a clip is read with one `pread` at
a known position. Reading needs neither HDF5 nor a lock once the index is read, so it is safe in any number of threads
and processes, after fork and after spawn. A store is never changed in place: `write_store` replaces the whole file, and
readers that have the old file open continue to read it.

Checksums: of every clip in the array `checksums`, compared when a process first reads the clip; of all that is not
features in a seal at the end of the file (`avkit.reading.checksums`), compared before HDF5 sees the file. Stores
without them are read as before.
"""

import os
import threading
from collections.abc import Collection, Iterable
from dataclasses import asdict
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.errors import DataError
from avkit.features.base import Array, FeatureFacts, missing_clip_error
from avkit.features.store_index import CHECKSUMS, VERSION, StoreIndex, read_index
from avkit.files import atomic
from avkit.reading.checksums import Span, changed_error, crc32, seal_around

#: Files up to this size are read into the page cache as a whole when they are opened.
_MAX_PREFETCH_BYTES = 4 * 2**30
#: The kernel is asked for pieces of this size, because it shortens larger requests.
_PREFETCH_PIECE = 2**19


class Store:
    """A feature store, opened when first read.

    Args:
        path: The file.

    Raises:
        DataError: When first read, if the file is not a store, is cut off, or has no such clip.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: int | None = None
        self._checked: set[str] = set()

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.names)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path = state["path"]
        self._file = None
        self._checked = set()

    def __del__(self) -> None:
        file = vars(self).get("_file")  # absent where the constructor failed
        if file is not None:
            os.close(file)

    @cached_property
    def _index(self) -> StoreIndex:
        return read_index(self.path)

    @cached_property
    def _rows(self) -> dict[str, tuple[int, int]]:
        """First row of each clip, and the row after its last."""
        starts = self._index.starts.tolist()
        return dict(zip(self._index.names, pairwise(starts), strict=True))

    @property
    def names(self) -> Collection[str]:
        """Names of the clips, in the order of the file."""
        return self._rows.keys()

    @property
    def facts(self) -> FeatureFacts:
        """How the features were made."""
        return self._index.facts

    @property
    def dtype(self) -> np.dtype[Any]:
        """Float16 or float32."""
        return self._index.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one step, such as (256, 768) for patches."""
        return self._index.shape

    def steps(self, name: str) -> int:
        """Number of steps T of a clip, without reading it."""
        first, end = self._span(name)
        return end - first

    def read(self, name: str) -> Array:
        """Features of a clip, (T, ...), in the store's dtype."""
        first, end = self._span(name)
        index = self._index
        values = np.empty((end - first, *index.shape), index.dtype)
        if self._read_into(values, index.offset + first * index.row_bytes) < values.nbytes:
            raise DataError(f"{self.path} is cut off within clip {name!r}. Copy or extract it again.")
        self._check(name, values)
        return values

    def _check(self, name: str, values: Array) -> None:
        """Compare a clip with its checksum, the first time that this process reads it."""
        checksums = self._index.checksums
        if checksums is None or name in self._checked:
            return
        if crc32(values.reshape(-1).view(np.uint8).data) != checksums[name]:
            raise changed_error(f"Clip {name!r} of {self.path}")
        self._checked.add(name)

    def _read_into(self, values: Array, position: int) -> int:
        """Fill an array from a position in the file; returns the number of bytes read."""
        if not hasattr(os, "preadv"):  # Windows
            with self.path.open("rb") as file:
                file.seek(position)
                return file.readinto(values.data.cast("B"))
        if self._file is None:
            index = self._index
            self._file = open_for_clips(self.path, Span(index.offset, index.value_bytes), index.value_bytes)
        return os.preadv(self._file, [values.data.cast("B")], position)

    def _span(self, name: str) -> tuple[int, int]:
        try:
            return self._rows[name]
        except KeyError:
            raise missing_clip_error(self.path, name, self.names) from None


def write_store(
    path: str | Path, clips: Iterable[tuple[str, Array]], facts: FeatureFacts, dtype: str = "float16"
) -> Path:
    """Write a store; the file appears only when it is complete.

    Args:
        path: File to write, replaced if it exists.
        clips: Name and features (T, ...) of each clip; shapes may differ in T only. Iterated twice, the first time for
            the shapes, so give a list or another iterable that can be iterated again.
        facts: How the features were made.
        dtype: `float16` or `float32`.

    Raises:
        ValueError: If the dtype is another, there is no clip, a name occurs twice, shapes differ, or a value is not
            finite or too large for the dtype.
    """
    import h5py

    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype is {dtype!r}; a store holds float16 or float32.")
    names, starts, shape = measure_clips(clips)
    with atomic(Path(path)) as part:
        with h5py.File(part, "w") as file:
            file.attrs["avkit_features"] = VERSION
            for key, value in asdict(facts).items():
                file.attrs[key] = value
            file["names"] = np.array([name.encode() for name in names])
            file["starts"] = starts
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_layout(h5py.h5d.CONTIGUOUS)
            properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            space = h5py.h5s.create_simple((int(starts[-1]), *shape))
            values = h5py.Dataset(
                h5py.h5d.create(file.id, b"values", h5py.h5t.py_create(np.dtype(dtype)), space, dcpl=properties)
            )
            checksums = []
            for (name, array), start in zip(clips, starts[:-1].tolist(), strict=True):
                converted = np.ascontiguousarray(to_stored_dtype(name, array, dtype))
                values[start : start + len(array)] = converted
                checksums.append(crc32(converted.reshape(-1).view(np.uint8).data))
            file[CHECKSUMS] = np.array(checksums, np.uint32)
            span = Span(values.id.get_offset() or 0, values.nbytes)
        seal_around(part, span)
    return Path(path)


def measure_clips(clips: Iterable[tuple[str, Array]]) -> tuple[list[str], NDArray[np.int64], tuple[int, ...]]:
    """Names of the clips of a store, first row of each and number of rows, and shape of a row.

    Raises:
        ValueError: If there is none, a name occurs twice, or shapes do not fit each other.
    """
    lengths: dict[str, int] = {}
    shape: tuple[int, ...] | None = None
    for name, array in clips:
        if name in lengths:
            raise ValueError(f"Clip {name!r} is given twice. Give each clip once.")
        if array.ndim < 2:
            raise ValueError(f"Clip {name!r} has shape {array.shape}; give two dimensions or more.")
        if shape is not None and array.shape[1:] != shape:
            raise ValueError(f"Clip {name!r} has shape {array.shape}; give (T, {', '.join(map(str, shape))}).")
        lengths[name] = len(array)
        shape = array.shape[1:]
    if shape is None:
        raise ValueError("There is no clip to write.")
    starts = np.concatenate([[0], np.cumsum(list(lengths.values()))])
    return list(lengths), starts.astype(np.int64), shape


def to_stored_dtype(name: str, array: Array, dtype: str) -> Array:
    """Features in the store's dtype; refuses values that are not finite there."""
    with np.errstate(over="ignore"):
        converted: Array = array.astype(dtype)
    if np.isfinite(converted).all():
        return converted
    reason = f"beyond {dtype}, which ends at {np.finfo(dtype).max}"
    if not np.isfinite(array).all():
        reason = "not finite"
    raise ValueError(f"Clip {name!r} has values that are {reason}. Extract it again, or choose float32.")


def open_for_clips(path: Path, span: Span, total: int) -> int:
    """Open a file for reading clips in any order, and tell the kernel so.

    Args:
        path: The file.
        span: Where its features are.
        total: Bytes of features of the whole store, which is read ahead if it is small.
    """
    file = os.open(path, os.O_RDONLY)
    if hasattr(os, "posix_fadvise"):
        if total <= _MAX_PREFETCH_BYTES:
            arguments = (os.dup(file), span.start, span.length)
            threading.Thread(target=_prefetch, args=arguments, daemon=True).start()
        else:
            os.posix_fadvise(file, span.start, span.length, os.POSIX_FADV_RANDOM)
    return file


def _prefetch(file: int, offset: int, size: int) -> None:
    """Ask the kernel to read all of a file into its cache, while clips are being read."""
    try:
        for start in range(offset, offset + size, _PREFETCH_PIECE):
            os.posix_fadvise(file, start, _PREFETCH_PIECE, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(file)
