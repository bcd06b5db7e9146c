# SPDX-License-Identifier: Apache-2.0
"""Heat maps of sound sources: a folder of `ID.npy`, or one `.npz` with a map for each id."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from avkit.answers.encoding import Record, encode_array
from avkit.errors import DataError, FileError
from avkit.reading.arrays import npz_names, read_npy, read_npz
from avkit.scoring.formats.base import Format
from avkit.scoring.formats.ids import SampleIds
from avkit.scoring.formats.listed import sample_ids
from avkit.scoring.predictions import PlacedRecord
from avkit.scoring.truth import Truth

#: Maps of an archive that are read at a time.
_CHUNK = 64


class HeatMaps(Format):
    """Heat maps as arrays."""

    name = "heat-maps"
    title = "heat maps: a folder of ID.npy, or an .npz with an array for each id"
    tasks: ClassVar[tuple[str, ...]] = ("ssl",)

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Whether it is an `.npz`, or a folder with a `.npy`."""
        if path.is_dir():
            return next(path.rglob("*.npy"), None) is not None
        return path.suffix == ".npz"

    @classmethod
    def read(cls, path: Path, truth: Truth) -> Iterator[PlacedRecord | FileError]:
        """As `read_heat_maps`."""
        ids = sample_ids(truth)
        yield from read_heat_maps(path, ids)
        truth.notes += ids.left_out(path)


def heat_record(name: str, heat: NDArray[np.float32]) -> Record:
    """The record of the heat map (h, w) of a picture, which has one step."""
    return {"id": name, "steps": [0], "heat": encode_array(heat[None])}


def read_heat_maps(path: Path, ids: SampleIds) -> Iterator[PlacedRecord | FileError]:
    """The heat map of every picture, as it is: the official metric resizes it, and counts the order of pixels alone.

    Args:
        path: A folder of `.npy`, or an `.npz`.
        ids: Ids of the pictures that are scored.

    Yields:
        Records of heat maps; an error for an array that is of no picture, or no heat map.

    Raises:
        DataError: If the file or folder holds no arrays.
    """
    for written, where, array in _arrays(path):
        try:
            name = ids.find(written, where)
            if name is not None:
                yield PlacedRecord(where, heat_record(name, _heat(array(), where)))
        except DataError as error:
            yield FileError(str(error))


def _arrays(path: Path) -> Iterator[tuple[str, str, Callable[[], NDArray[np.generic]]]]:
    """Id as it is written and place of each array, and a function that reads it."""
    if not path.is_dir():
        names = npz_names(path)
        for start in range(0, len(names), _CHUNK):
            arrays = read_npz(path, names[start : start + _CHUNK])
            for name in arrays:
                yield name, f"{path}, array {name!r}", partial(arrays.__getitem__, name)
        return
    files = sorted(path.rglob("*.npy"))
    if not files:
        raise DataError(f"{path} holds no .npy. Name a folder with the map of every picture as ID.npy, or an .npz.")
    for file in files:
        yield file.stem, str(file), partial(read_npy, file, "a heat map")


def _heat(values: NDArray[np.generic], where: str) -> NDArray[np.float32]:
    shape = values.shape
    while values.ndim > 2 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != 2 or not values.size:
        raise DataError(f"{where}: an array of shape {shape} is no heat map. Save one of (height, width).")
    heat = values.astype(np.float32)
    if not np.isfinite(heat).all():
        wrong = int((~np.isfinite(heat)).sum())
        raise DataError(
            f"{where}: {wrong} of {heat.size} values are NaN or infinite. Save finite numbers, high where the "
            "source is."
        )
    return heat
