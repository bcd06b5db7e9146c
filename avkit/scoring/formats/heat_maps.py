# SPDX-License-Identifier: Apache-2.0
"""Heat maps of sound sources: a folder of `ID.npy`, or one `.npz` with a map for each id."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avkit.errors import DataError
from avkit.reading.arrays import npz_names, read_npy, read_npz
from avkit.scoring.formats.ids import SampleIds

#: Maps of an archive that are read at a time.
_CHUNK = 64


def read_heat_maps(path: Path, ids: SampleIds) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The heat map of every picture, as it is: the official metric resizes it, and counts the order of pixels alone.

    Args:
        path: A folder of `.npy`, or an `.npz`.
        ids: Ids of the pictures that are scored.

    Yields:
        Id and map, float32 (h, w).

    Raises:
        DataError: If a file is of no picture, two are of one, or a map is not one of finite numbers.
    """
    places: dict[str, str] = {}
    for written, where, values in _arrays(path):
        name = ids.find(written, where)
        if name is None:
            continue
        if name in places:
            raise DataError(f"{where}: {places[name]} is of the same picture {name!r}. Leave one of them.")
        places[name] = where
        yield name, _heat(values, where)


def _arrays(path: Path) -> Iterator[tuple[str, str, NDArray[np.generic]]]:
    """Id as it is written, place and content of each array."""
    if not path.is_dir():
        names = npz_names(path)
        for start in range(0, len(names), _CHUNK):
            arrays = read_npz(path, names[start : start + _CHUNK])
            for name, values in arrays.items():
                yield name, f"{path}, array {name!r}", values
        return
    files = sorted(path.rglob("*.npy"))
    if not files:
        raise DataError(f"{path} holds no .npy. Name a folder with the map of every picture as ID.npy, or an .npz.")
    for file in files:
        yield file.stem, str(file), read_npy(file, "a heat map")


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
