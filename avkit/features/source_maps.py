# SPDX-License-Identifier: Apache-2.0
"""Maps that say which merged token each patch of a picture went into, beside the features that hold the tokens.

The tokens of a stream `NAME` have their map in a store `NAME_sources.h5`, or in a folder `NAME_sources`, beside them.
"""

from pathlib import Path

import numpy as np

from avkit.errors import DataError
from avkit.features.base import Array, Features
from avkit.features.combined import ConcatenatedFeatures, TokenFeatures
from avkit.features.files import NpyFolder
from avkit.features.store import Store
from avkit.reading.copies import kept_copy
from avkit.reading.remote import is_there

#: What the name of a map adds to that of its features.
SOURCES_ENDING = "_sources"


class NoSourceMapError(DataError):
    """Features of merged tokens have no map of sources, or one that is not theirs."""


def open_source_maps(features: Features) -> Features:
    """The map of sources of stored visual features, of whichever of joined features has one.

    Raises:
        NoSourceMapError: If there is none, or it was made with another encoder or other weights; says what to do.
    """
    parts = _parts_of(features)
    for part in parts:
        for path in _places(part.path):
            if is_there(path):
                maps = Store(kept_copy(path)) if path.suffix == ".h5" else NpyFolder(path)
                _check_same_encoder(part, maps)
                return maps
    listed = " or ".join(str(_places(part.path)[0]) for part in parts)
    raise NoSourceMapError(
        f"there is no map of the patches that went into each token ({listed}); avkit extract --recipe tspm stores one "
        "beside the tokens"
    )


def read_source_map(maps: Features, name: str, steps: int) -> Array:
    """The map of a clip, int64 (T, h, w).

    Args:
        maps: Where it is.
        name: Name of the clip.
        steps: Steps T that the clip is read with; further rows are cut off.

    Raises:
        NoSourceMapError: If the clip has no map, or one of another shape.
    """
    if name not in maps.names:
        raise NoSourceMapError(f"{maps.path} has no map of clip {name!r}; extract it again")
    values = maps.read(name)[:steps]
    if values.ndim != 3 or len(values) != steps:
        raise NoSourceMapError(
            f"{maps.path}: the map of clip {name!r} is {values.shape} and not ({steps}, rows, columns)"
        )
    numbers: Array = np.rint(values).astype(np.int64)
    return numbers


def _parts_of(features: Features) -> list[Features]:
    """Features that are joined, each by itself; without those of which one token alone is read."""
    parts = list(features.parts) if isinstance(features, ConcatenatedFeatures) else [features]
    return [part for part in parts if not isinstance(part, TokenFeatures)]


def _places(path: Path) -> list[Path]:
    """Where the map of the features at a path may be."""
    name = path.stem if path.suffix in (".h5", ".hdf5") else path.name
    return [path.with_name(f"{name}{SOURCES_ENDING}.h5"), path.with_name(f"{name}{SOURCES_ENDING}")]


def _check_same_encoder(features: Features, maps: Features) -> None:
    """Refuse a map that another encoder, or one of other weights, made; facts that are not known are taken as equal."""
    own = features.facts
    other = maps.facts
    pairs = (
        (own.encoder.removesuffix(" patches"), other.encoder.removesuffix(" sources")),
        (own.weights, other.weights),
        (own.hop, other.hop),
    )
    for mine, theirs in pairs:
        if mine and theirs and mine != theirs:
            raise NoSourceMapError(
                f"{maps.path} was made with {theirs} and {features.path} with {mine}; extract both together"
            )
