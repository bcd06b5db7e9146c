# SPDX-License-Identifier: Apache-2.0
"""Features in the file formats in which authors release them."""

import os
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from avkit.errors import DataError
from avkit.features.base import Array, FeatureFacts, missing_clip_error
from avkit.features.sidecar import read_sidecar
from avkit.reading.arrays import keep_dataset_open, read_npy
from avkit.reading.boundary import file_errors
from avkit.reading.remote import is_folder, is_there, list_names, url_of


class NpyFolder:
    """A folder with one `.npy` file per clip.

    Args:
        folder: The folder.
        ending: Suffix of the files after the clip's name, such as `_rgb.npy`.
        facts: How the features were made; by default what a `features.json` in the folder says.
    """

    def __init__(self, folder: str | Path, ending: str = ".npy", facts: FeatureFacts | None = None) -> None:
        self.path = Path(folder)
        self.ending = ending
        self.facts = facts or read_sidecar(self.path)

    @cached_property
    def names(self) -> Collection[str]:
        """Names of the clips."""
        if not is_folder(self.path):
            place = url_of(self.path) or self.path
            raise DataError(f"{place} cannot be listed: there is no such folder. Name a folder of .npy files.")
        files = [name for name in list_names(self.path) if name.endswith(self.ending) and not name.startswith(".")]
        return {name.removesuffix(self.ending) for name in files}

    def read(self, name: str) -> Array:
        """Features of a clip, (T, ...), in the dtype of the file."""
        path = self.path / f"{name}{self.ending}"
        if not is_there(path):
            raise missing_clip_error(self.path, name, self.names)
        return load_array(path)


class RowFile:
    """An official HDF5 file with one row per clip, in the order of the dataset's annotation file.

    Args:
        path: The file.
        names: Name of the clip of each row.
        key: Name of the array in the file.
        facts: How the features were made; by default what a JSON file of the same name beside it says.
    """

    def __init__(
        self, path: str | Path, names: Iterable[str], key: str = "avadataset", facts: FeatureFacts | None = None
    ) -> None:
        self.path = Path(path)
        self.key = key
        self.facts = facts or read_sidecar(self.path)
        self.rows: Mapping[str, int] = {name: row for row, name in enumerate(names)}
        self._open: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": None}

    @property
    def names(self) -> Collection[str]:
        """Names of the clips."""
        return self.rows.keys()

    def read(self, name: str) -> Array:
        """The row of a clip."""
        if name not in self.rows:
            raise missing_clip_error(self.path, name, self.names)
        values = self._values()
        with file_errors(self.path, f"cannot be read at clip {name!r}", "Copy or download it again."):
            row: Array = values[self.rows[name]]
        return usable_array(row, f"{self.path}, clip {name!r}")

    def _values(self) -> Any:
        """The array; it is opened again after a fork, because a process cannot use the HDF5 handle of another."""
        process = os.getpid()
        if self._open is None or self._open[0] != process:
            values = keep_dataset_open(self.path, self.key)
            if len(values) != len(self.rows):
                raise DataError(
                    f"{self.path} has {len(values)} rows and the annotation file {len(self.rows)}. They must be of one "
                    "release: take both from the same source."
                )
            self._open = (process, values)
        return self._open[1]


def load_array(path: Path) -> Array:
    """Load a `.npy` file of numbers.

    Raises:
        DataError: If the file is damaged, empty, or holds Python objects, which are pickles and can run code.
    """
    return usable_array(read_npy(path, "features"), str(path))


def usable_array(array: Array, where: str) -> Array:
    """Features in the byte order and with the number types of this machine.

    Args:
        array: Features as a file holds them.
        where: File and clip, for messages.

    Returns:
        The same values, (T, ...), copied only where byte order or type must change.

    Raises:
        DataError: If they are no numbers, have no row or no width, or some are NaN or infinite.
    """
    if array.dtype.kind not in "fiu" or array.ndim < 2 or not array.size:
        raise DataError(
            f"{where} is no array of features: {array.dtype} {array.shape}. Give numbers of shape (steps, width) or "
            "(steps, ..., width)."
        )
    if array.dtype.kind == "f":
        is_finite = np.isfinite(array)
        if not is_finite.all():
            raise DataError(
                f"{where}: {array.size - int(is_finite.sum())} of {array.size} values are NaN or infinite. Extract "
                "this clip again, or leave it out."
            )
    dtype = array.dtype.newbyteorder("=")
    if dtype.itemsize > 8:
        dtype = np.dtype(np.float64)
    return array.astype(dtype, copy=False)
