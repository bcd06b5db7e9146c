# SPDX-License-Identifier: Apache-2.0
"""The outline of each class, as signed distances on the unit disc.

A glyph maps coordinates x (to the right) and y (down), in radii from its centre, to the distance from its outline,
negative inside, and to the distance from the dark mark on it (None without a mark). Only operations that IEEE 754
rounds exactly (+ - * /, square root, minimum, maximum) are used, so that every machine draws the same pixels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Glyph = Callable[[Array, Array], tuple[Array, Array | None]]


def _disc(x: Array, y: Array, radius: float, right: float = 0.0, down: float = 0.0) -> Array:
    distance: Array = np.sqrt((x - right) ** 2 + (y - down) ** 2) - radius
    return distance


def _box(x: Array, y: Array, width: float, height: float) -> Array:
    return np.maximum(np.abs(x) - width, np.abs(y) - height)


def _drum(x: Array, y: Array) -> tuple[Array, Array | None]:
    disc = _disc(x, y, 0.95)
    return disc, np.abs(disc + 0.45) - 0.12


def _bell(x: Array, y: Array) -> tuple[Array, Array | None]:
    side = 0.884 * np.abs(x) - 0.468 * (y + 0.95)
    return np.maximum(side, y - 0.75), None


def _horn(x: Array, y: Array) -> tuple[Array, Array | None]:
    crescent = np.maximum(_disc(x, y, 0.98), -_disc(x, y, 0.7, right=0.5))
    return np.maximum(crescent, x - 0.55), None


def _flute(x: Array, y: Array) -> tuple[Array, Array | None]:
    return _box(x, y, 0.98, 0.36), None


def _clock(x: Array, y: Array) -> tuple[Array, Array | None]:
    return np.abs(_disc(x, y, 0.74)) - 0.24, None


def _engine(x: Array, y: Array) -> tuple[Array, Array | None]:
    return _box(x, y, 0.82, 0.82), _box(x, y, 0.3, 0.3)


def _siren(x: Array, y: Array) -> tuple[Array, Array | None]:
    return np.maximum(_disc(x, y, 0.98, down=0.45), y - 0.5), None


def _bird(x: Array, y: Array) -> tuple[Array, Array | None]:
    wing = np.abs(0.774 * np.abs(x) + 0.633 * (y - 0.5)) - 0.27
    return np.maximum(wing, -0.75 - y), None


def _frog(x: Array, y: Array) -> tuple[Array, Array | None]:
    x = np.abs(x)
    tip = np.maximum(0.78 * x + 0.62 * (y - 0.93), -0.3 - y)
    return np.minimum(_disc(x, y, 0.5, right=0.45, down=-0.3), tip), None


def _bee(x: Array, y: Array) -> tuple[Array, Array | None]:
    return 0.66 * _disc(x, y / 0.66, 1.0), np.abs(np.abs(x) - 0.38) - 0.15


def _guitar(x: Array, y: Array) -> tuple[Array, Array | None]:
    return np.minimum(_disc(x, y, 0.45, down=-0.53), _disc(x, y, 0.6, down=0.38)), None


def _kettle(x: Array, y: Array) -> tuple[Array, Array | None]:
    # a star of five points: where all but at most one of the five half-planes of a pentagram hold
    first = x * 0.0 - y - 0.34
    second = np.full_like(first, -9.0)
    for right, down in ((0.951, -0.309), (0.588, 0.809), (-0.588, 0.809), (-0.951, -0.309)):
        side = right * x + down * y - 0.34
        second = np.maximum(second, np.minimum(first, side))
        first = np.maximum(first, side)
    return second, None


#: In the order of `world.CLASSES`.
GLYPHS: tuple[Glyph, ...] = (
    _drum, _bell, _horn, _flute, _clock, _engine, _siren, _bird, _frog, _bee, _guitar, _kettle,
)  # fmt: skip

#: Width of the dark rim inside the outline, in radii.
RIM = 0.14


def coverage(kind: int, x: Array, y: Array, radius: Array) -> tuple[Array, Array]:
    """How much of each pixel the glyph covers, and how dark it is there, both in [0, 1].

    Args:
        kind: Index of the class.
        x: Pixel centres from the glyph's centre in radii, broadcastable with `y`.
        y: Likewise.
        radius: Pixels per radius, broadcastable with both.
    """
    shape, mark = GLYPHS[kind](x, y)
    dark = shape + RIM
    if mark is not None:
        dark = np.maximum(dark, -mark)
    return np.clip(0.5 - shape * radius, 0, 1), np.clip(0.5 + dark * radius, 0, 1)
