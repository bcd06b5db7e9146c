# SPDX-License-Identifier: Apache-2.0
"""The feature store: one HDF5 file per dataset and encoder.

A store holds the features of all clips one after another in one contiguous block, so a clip is one read at a known
place of one file. Reading needs neither HDF5 nor a lock: after the index is read, each clip is a `pread`, which is safe
in any number of threads and processes, after fork and after spawn. A store is never changed in place; `write_store`
puts a new file in its stead at once, and whoever has the old one open reads on in the old one.
"""

import hashlib
import os
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.errors import DataError
from avkit.features.arrays import Array, FeatureFacts, absent, unreadable
from avkit.files import atomic

#: Version of the layout, stored with it.
VERSION = 1

#: Files up to this size are fetched into the page cache as a whole when they are first read, in pieces of the second
#: size, since the kernel cuts larger ones short.
_FETCH_BYTES, _PIECE = 4 * 2**30, 2**19


class Store:
    """A store, opened when first read.

    Args:
        path: The file.

    Raises:
        DataError: When first read, if the file is not a store, is cut off, or has no such clip.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: int | None = None

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.names)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)  # type: ignore[arg-type]

    @cached_property
    def _index(self) -> "_Index":
        return _read_index(self.path)

    @cached_property
    def _rows(self) -> dict[str, tuple[int, int]]:
        starts = self._index.starts
        return {n: (a, b) for n, a, b in zip(self._index.names, starts[:-1].tolist(), starts[1:].tolist(), strict=True)}

    @property
    def names(self) -> Collection[str]:
        """Clips in the order of the file."""
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
        start, stop = self._place(name)
        return stop - start

    def read(self, name: str) -> Array:
        """Features of a clip, (T, ...), in the store's dtype."""
        start, stop = self._place(name)
        index = self._index
        out = np.empty((stop - start, *index.shape), index.dtype)
        if self._read(out, index.offset + start * index.row_bytes) < out.nbytes:
            raise DataError(f"{self.path} is cut off within clip {name!r}. Copy or extract it again.")
        return out

    def _read(self, out: Array, offset: int) -> int:
        """Fill an array from a place of the file; the bytes that were there."""
        if not hasattr(os, "preadv"):  # Windows
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.readinto(out.data.cast("B"))
        if self._file is None:
            self._file = _open(self.path, self._index)
        return os.preadv(self._file, [out.data.cast("B")], offset)

    def _place(self, name: str) -> tuple[int, int]:
        try:
            return self._rows[name]
        except KeyError:
            raise absent(self.path, name, self.names) from None


@dataclass(frozen=True)
class _Index:
    names: list[str]
    starts: NDArray[np.int64]  # (N + 1,), first row of each clip
    offset: int  # of row 0 in the file, in bytes
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    facts: FeatureFacts

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def write_store(
    path: str | Path, clips: Iterable[tuple[str, Array]], facts: FeatureFacts, dtype: str = "float16"
) -> Path:
    """Write a store; it appears under its name only when it is whole.

    Args:
        path: File to write, replaced if it exists.
        clips: Name and features (T, ...) of each clip; shapes may differ in T alone. Read twice, once for shapes, so
            give a list or something that can be gone through again.
        facts: How the features were made.
        dtype: `float16` or `float32`.

    Raises:
        ValueError: If the dtype is another, there is no clip, a name occurs twice, shapes differ, or a value is not
            finite or beyond what the dtype holds.
    """
    import h5py

    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype is {dtype!r}; a store holds float16 or float32.")
    names, starts, shape = _measure(clips)
    with atomic(Path(path)) as part, h5py.File(part, "w") as file:
        file.attrs["avkit_features"] = VERSION
        for key, value in asdict(facts).items():
            file.attrs[key] = value
        file["names"] = np.array([name.encode() for name in names])
        file["starts"] = starts
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.CONTIGUOUS)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        space = h5py.h5s.create_simple((int(starts[-1]), *shape))
        values = h5py.Dataset(
            h5py.h5d.create(file.id, b"values", h5py.h5t.py_create(np.dtype(dtype)), space, dcpl=plan)
        )
        for (name, x), start in zip(clips, starts[:-1].tolist(), strict=True):
            values[start : start + len(x)] = _fitting(name, x, dtype)
    return Path(path)


def _measure(clips: Iterable[tuple[str, Array]]) -> tuple[list[str], NDArray[np.int64], tuple[int, ...]]:
    names: dict[str, int] = {}
    shape: tuple[int, ...] | None = None
    for name, x in clips:
        if name in names:
            raise ValueError(f"Clip {name!r} is given twice. Give each clip once.")
        if x.ndim < 2 or (shape is not None and x.shape[1:] != shape):
            wanted = "two dimensions or more" if x.ndim < 2 else f"(T, {', '.join(map(str, shape or ()))})"
            raise ValueError(f"Clip {name!r} has shape {x.shape}; give {wanted}.")
        names[name], shape = len(x), x.shape[1:]
    if shape is None:
        raise ValueError("There is no clip to write.")
    return list(names), np.concatenate([[0], np.cumsum(list(names.values()))]).astype(np.int64), shape


def _fitting(name: str, x: Array, dtype: str) -> Array:
    with np.errstate(over="ignore"):
        out: Array = x.astype(dtype)
    if not np.isfinite(out).all():
        reason = "not finite" if not np.isfinite(x).all() else f"beyond {dtype}, which ends at {np.finfo(dtype).max}"
        raise ValueError(f"Clip {name!r} has values that are {reason}. Extract it again, or choose float32.")
    return out


def _read_index(path: Path) -> _Index:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if "avkit_features" not in file.attrs:
                raise DataError(
                    f"{path} is not a feature store of avkit: it holds {', '.join(sorted(file)) or 'nothing'}. "
                    "Make one with 'avkit extract', or name the folder of the authors' .npy files."
                )
            if int(file.attrs["avkit_features"]) > VERSION:
                raise DataError(f"{path} was written by a newer avkit. Update avkit to read it.")
            values = file["values"]
            index = _Index(
                [bytes(name).decode() for name in file["names"][:]],
                file["starts"][:],
                values.id.get_offset() or 0,
                values.shape[1:],
                values.dtype,
                FeatureFacts(
                    **{f.name: _plain(file.attrs[f.name]) for f in fields(FeatureFacts) if f.name in file.attrs}
                ),
            )
    except (OSError, KeyError) as error:
        raise unreadable(path, error) from error
    if path.stat().st_size < index.offset + int(index.starts[-1]) * index.row_bytes:
        raise DataError(f"{path} is cut off: it is shorter than its index says. Copy or extract it again.")
    return index


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _open(path: Path, index: _Index) -> int:
    file = os.open(path, os.O_RDONLY)
    size = int(index.starts[-1]) * index.row_bytes
    if hasattr(os, "posix_fadvise"):
        if size <= _FETCH_BYTES:
            threading.Thread(target=_fetch, args=(os.dup(file), index.offset, size), daemon=True).start()
        else:
            os.posix_fadvise(file, index.offset, size, os.POSIX_FADV_RANDOM)
    return file


def _fetch(file: int, offset: int, size: int) -> None:
    """Ask the kernel for all of a file, while clips of it are being read."""
    try:
        for start in range(offset, offset + size, _PIECE):
            os.posix_fadvise(file, start, _PIECE, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(file)


def weights_hash(tensors: Mapping[str, Any]) -> str:
    """SHA-256 of a state dict, 16 hexadecimal digits: names, shapes and bytes in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        x = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(x.shape)} {x.dtype}".encode())
        digest.update(x.reshape(-1).view(dtype=_bytes()).numpy().tobytes() if x.numel() else b"")
    return digest.hexdigest()[:16]


def _bytes() -> Any:
    import torch

    return torch.uint8
