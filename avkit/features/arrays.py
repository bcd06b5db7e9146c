# SPDX-License-Identifier: Apache-2.0
"""Features of clips by name, wherever they lie: what is known of them, and files as authors release them."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from avkit.errors import DataError

Array = NDArray[Any]


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

    One with several times as many rows is averaged over them, others are cut. A vector per row beside tokens of a row
    stands with every token.

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
        return np.concatenate(_beside([average_rows(x, steps)[:steps] for x in found]), -1)


def _beside(parts: Sequence[Array]) -> list[Array]:
    """Features of one shape but for the last dimension: vectors (T, D) stand with every token of others (T, P, D)."""
    tokens = {x.shape[1] for x in parts if x.ndim == 3}
    if len(tokens) != 1:
        return list(parts)
    count = tokens.pop()
    return [np.broadcast_to(x[:, None], (len(x), count, x.shape[1])) if x.ndim == 2 else x for x in parts]


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
