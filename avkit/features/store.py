# SPDX-License-Identifier: Apache-2.0
"""Features on disk: our store, one HDF5 file per dataset and encoder, and what the authors of datasets release.

A store holds the features of all clips one after another in one contiguous block, so a clip is one read at a known
place of one file. Reading needs neither HDF5 nor a lock: after the index is read, each clip is a `pread`, which is safe
in any number of threads and processes, after fork and after spawn. A store is never changed in place; `write_store`
puts a new file in its stead at once, and whoever has the old one open reads on in the old one.
"""

import hashlib
import os
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from avkit.errors import DataError
from avkit.files import atomic

Array = NDArray[Any]

#: Version of the layout, stored with it.
VERSION = 1

#: Files up to this size are fetched into the page cache as a whole when they are first read, in pieces of the second
#: size, since the kernel cuts larger ones short.
_FETCH_BYTES, _PIECE = 4 * 2**30, 2**19


@dataclass(frozen=True)
class FeatureFacts:
    """What features are and how they were made; what is not known is empty or 0.

    Attributes:
        encoder: Network, such as `vggish`.
        hop: Seconds from one step to the next.
        window: Seconds of the clip that one step sees.
        fps: Pictures per second given to the network.
        dataset: Dataset whose clips they are of.
        weights: Hash of the network's weights, see `weights_hash`.
        made_by: Program and version.
    """

    encoder: str = ""
    hop: float = 0.0
    window: float = 0.0
    fps: float = 0.0
    dataset: str = ""
    weights: str = ""
    made_by: str = ""

    @property
    def offset(self) -> float:
        """Seconds by which the middle of a step's window lies after the middle of its hop."""
        return (self.window - self.hop) / 2 if self.window and self.hop else 0.0


class Features(Protocol):
    """Features of many clips by name."""

    #: Where they are, for messages.
    path: Path

    @property
    def names(self) -> Collection[str]:
        """Clips there are features of."""

    @property
    def facts(self) -> FeatureFacts:
        """What is known of how they were made."""

    def read(self, name: str) -> Array:
        """Features of a clip, (T, ...)."""


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
        if self._file is None:
            self._file = _open(self.path, index)
        if os.preadv(self._file, [out.data.cast("B")], index.offset + start * index.row_bytes) < out.nbytes:
            raise DataError(f"{self.path} is cut off within clip {name!r}. Copy or extract it again.")
        return out

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


class NpyFolder:
    """A folder with one `.npy` per clip, as most authors release their features.

    Args:
        folder: The folder.
        ending: What follows the clip's name, such as `_rgb.npy`.
        facts: What is known of how they were made.
    """

    def __init__(self, folder: str | Path, ending: str = ".npy", facts: FeatureFacts | None = None) -> None:
        self.path, self.ending, self.facts = Path(folder), ending, facts or FeatureFacts()

    @cached_property
    def names(self) -> Collection[str]:
        """Clips of which there is a file."""
        try:
            with os.scandir(self.path) as entries:
                found = [e.name for e in entries if e.name.endswith(self.ending) and e.name[0] != "."]
        except OSError as error:
            raise DataError(f"{self.path} cannot be listed: {error.strerror}. Name a folder of .npy files.") from error
        return {name.removesuffix(self.ending) for name in found}

    def read(self, name: str) -> Array:
        """Features of a clip, in the dtype of the file."""
        path = self.path / f"{name}{self.ending}"
        if not path.exists():
            raise absent(self.path, name, self.names)
        return load_array(path)


class RowFile:
    """An official HDF5 file with one row per clip, in the order of the dataset's annotation file.

    Args:
        path: The file.
        names: Name of the clip of each row.
        key: Name of the array in it.
        facts: What is known of how it was made.
    """

    def __init__(
        self, path: str | Path, names: Iterable[str], key: str = "avadataset", facts: FeatureFacts | None = None
    ) -> None:
        self.path, self.key, self.facts = Path(path), key, facts or FeatureFacts()
        self.rows: Mapping[str, int] = {name: k for k, name in enumerate(names)}
        self._open: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": None}

    @property
    def names(self) -> Collection[str]:
        """Clips by the rows there are."""
        return self.rows.keys()

    def read(self, name: str) -> Array:
        """The row of a clip."""
        if name not in self.rows:
            raise absent(self.path, name, self.names)
        out: Array = self._values()[self.rows[name]]
        return out

    def _values(self) -> Any:
        """The array, opened again in a process that was forked: an HDF5 handle is of one process alone."""
        import h5py

        if self._open is None or self._open[0] != os.getpid():
            try:
                values = h5py.File(self.path, "r")[self.key]
            except (OSError, KeyError) as error:
                raise unreadable(self.path, error) from error
            if len(values) != len(self.rows):
                raise DataError(
                    f"{self.path} has {len(values)} rows and the annotation file {len(self.rows)}. They must be of one "
                    "release: take both from the same source."
                )
            self._open = os.getpid(), values
        return self._open[1]


class Joined:
    """Several features of the same clips side by side, on the rows of the one with fewest.

    One with several times as many rows is averaged over them, others are cut.

    Args:
        parts: Features whose last dimensions are joined, such as RGB and flow.
    """

    def __init__(self, parts: Sequence[Features]) -> None:
        self.parts, self.path, self.facts = parts, parts[0].path, parts[0].facts

    @cached_property
    def names(self) -> Collection[str]:
        """Clips that all of them have."""
        return set(self.parts[0].names).intersection(*(part.names for part in self.parts[1:]))

    def read(self, name: str) -> Array:
        """Features (T, ..., D1 + D2 + ...)."""
        found = [part.read(name) for part in self.parts]
        steps = min(map(len, found))
        return np.concatenate([average_rows(x, steps)[:steps] for x in found], -1)


def average_rows(x: Array, steps: int) -> Array:
    """Rows (steps, ...) as means of equal groups of rows; as they are where they are no multiple of `steps`."""
    if len(x) == steps or not steps or len(x) % steps:
        return x
    out: Array = x.reshape(steps, -1, *x.shape[1:]).mean(1, dtype=np.float32)
    return out


class FirstOf:
    """Features of different clips from several places; the first that has a clip serves it.

    Args:
        parts: Where features lie.
    """

    def __init__(self, parts: Sequence[Features]) -> None:
        self.parts = parts
        self.path, self.facts = (parts[0].path, parts[0].facts) if parts else (Path(), FeatureFacts())

    @cached_property
    def names(self) -> Collection[str]:
        """Clips that one of them has."""
        return set().union(*(part.names for part in self.parts))

    def read(self, name: str) -> Array:
        """Features of a clip."""
        for part in self.parts:
            if name in part.names:
                return part.read(name)
        raise absent(self.path, name, self.names)


def load_array(path: Path) -> Array:
    """A `.npy` of plain numbers.

    Raises:
        DataError: If it is damaged, empty, or holds Python objects, which are pickles and can run code.
    """
    try:
        out = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read as an array of numbers ({error}). Copy or extract it again; arrays of Python "
            "objects are refused because they can run code."
        ) from error
    if not isinstance(out, np.ndarray) or out.dtype.kind not in "fiu" or out.ndim < 1 or not out.size:
        raise DataError(
            f"{path} is no array of features: {getattr(out, 'dtype', type(out))} {getattr(out, 'shape', '')}."
        )
    return out


@dataclass(frozen=True)
class Selected:
    """Name and features of some clips, one at a time and as often as wanted: what `write_store` takes."""

    features: Features
    wanted: list[str]

    def __iter__(self) -> Iterator[tuple[str, Array]]:
        for name in self.wanted:
            yield name, self.features.read(name)


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


def absent(path: Path, name: str, known: Collection[str]) -> DataError:
    """The error for a clip that there are no features of."""
    few = ", ".join(repr(n) for n in sorted(known)[:3])
    return DataError(
        f"{path} has no features of clip {name!r}; it has {len(known)}{f' such as {few}' if few else ''}. Extract it "
        "with 'avkit extract', or pass allow_missing=True."
    )


def unreadable(path: Path, error: Exception) -> DataError:
    """The error for an HDF5 file that does not open."""
    if not path.exists():
        return DataError(f"{path} does not exist. Check the path.")
    return DataError(
        f"{path} cannot be read as HDF5: it is cut off or no HDF5 file ({error}). Copy or extract it again."
    )
