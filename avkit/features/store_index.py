# SPDX-License-Identifier: Apache-2.0
"""The index of a feature store: where the features of each clip lie in the file."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.errors import DataError, file_error
from avkit.features.base import FeatureFacts
from avkit.reading.arrays import open_dataset, open_hdf5, read_dataset
from avkit.reading.checksums import changed_error, check_around

#: Version of the layout, stored in the file.
VERSION = 1
#: Name of the array of checksums.
CHECKSUMS = "checksums"


@dataclass(frozen=True)
class StoreIndex:
    """Layout of a store.

    Attributes:
        names: Names of the N clips.
        starts: First row of each clip, and the number of rows, (N + 1,).
        offset: Position of row 0 in the file, in bytes.
        shape: Shape of a row.
        dtype: Of the values.
        facts: How the features were made.
        checksums: Checksum of each clip, by its name; None in stores that have none.
    """

    names: list[str]
    starts: NDArray[np.int64]
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    facts: FeatureFacts
    checksums: dict[str, int] | None

    @property
    def row_bytes(self) -> int:
        """Size of a row in the file."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def value_bytes(self) -> int:
        """Size of all rows in the file."""
        return int(self.starts[-1]) * self.row_bytes


def read_index(path: Path) -> StoreIndex:
    """Read the index of a store.

    Raises:
        DataError: If the file is not a store, was changed, is cut off, or is of a newer version.
    """
    is_sealed = check_around(path)
    with open_hdf5(path, "Copy or extract it again.") as file:
        if "avkit_features" not in file.attrs:
            raise DataError(
                f"{path} is not a feature store of avkit: it holds {', '.join(sorted(file)) or 'nothing'}. "
                "Make one with 'avkit extract', or name the folder of the authors' .npy files."
            )
        if int(file.attrs["avkit_features"]) > VERSION:
            raise DataError(f"{path} was written by a newer avkit. Update avkit to read it.")
        names = [bytes(name).decode() for name in read_dataset(file, path, "names")]
        checksums = None
        if CHECKSUMS in file:
            if not is_sealed:
                raise changed_error(path)
            checksums = dict(zip(names, read_dataset(file, path, CHECKSUMS).tolist(), strict=True))
        values = open_dataset(file, path, "values")
        index = StoreIndex(
            names=names,
            starts=read_dataset(file, path, "starts"),
            offset=values.id.get_offset() or 0,
            shape=values.shape[1:],
            dtype=values.dtype,
            facts=_read_facts(file.attrs),
            checksums=checksums,
        )
        _check_index(path, index)
    return index


def _check_index(path: Path, index: StoreIndex) -> None:
    """Refuse an index that contradicts itself or the file."""
    starts = index.starts
    is_ascending = starts.ndim == 1 and starts.dtype.kind in "iu" and bool((np.diff(starts) >= 0).all())
    if not is_ascending or len(starts) != len(index.names) + 1 or starts[0] != 0:
        raise file_error(path, "is damaged: its index contradicts itself", "Copy or extract it again.")
    if index.dtype.kind != "f" or (index.value_bytes and not index.offset):
        raise file_error(
            path, f"is damaged: it holds {index.dtype} that is not one block of floats", "Copy or extract it again."
        )
    if path.stat().st_size < index.offset + index.value_bytes:
        raise DataError(f"{path} is cut off: it is shorter than its index says. Copy or extract it again.")


def _read_facts(attributes: Any) -> FeatureFacts:
    values: dict[str, Any] = {}
    for field in fields(FeatureFacts):
        if field.name in attributes:
            value = attributes[field.name]
            values[field.name] = value.item() if isinstance(value, np.generic) else value
    return FeatureFacts(**values)
