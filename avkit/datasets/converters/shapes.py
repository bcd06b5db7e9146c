# SPDX-License-Identifier: Apache-2.0
"""Shapes in pictures: boxes, polygons, run lengths; and the masks that they fill."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from avkit.datasets.annotations import field_error
from avkit.datasets.converters.run_lengths import decode_runs
from avkit.reading.pictures import MAX_PIXELS

#: Height and width in pixels.
Size: TypeAlias = tuple[int, int]
#: Label of what sounds and has no name.
UNNAMED = ""
#: Part of the picture by which a box may reach over its edge, which is cut off.
_MAX_OVERHANG = 0.01


@dataclass
class Box:
    """A box.

    Attributes:
        label: Name of its class.
        corners: x1, y1, x2, y2 as fractions of width and height.
        has_mask: Whether the object has a mask beside it.
        source: Its number among the sources of its clip; 0 where these have none.
    """

    label: str
    corners: list[float]
    has_mask: bool = False
    source: int = 0

    def towards(self, other: "Box", share: float) -> "Box":
        """The box on the way to another one, at a share of the way from 0 to 1."""
        pairs = zip(self.corners, other.corners, strict=True)
        return Box(self.label, [a + share * (b - a) for a, b in pairs], self.has_mask, self.source)

    def mask(self, size: Size, where: str) -> NDArray[np.bool_]:
        """Pixels (H, W) of the box, those that it cuts included."""
        left, top, right, bottom = np.array(self.corners) * np.array([size[1], size[0], size[1], size[0]])
        mask = np.zeros(size, bool)
        mask[int(top + 1e-3) : math.ceil(bottom - 1e-3), int(left + 1e-3) : math.ceil(right - 1e-3)] = True
        return mask


@dataclass
class Polygons:
    """An object that is the union of polygons.

    Attributes:
        label: Name of its class.
        rings: Corners x, y in pixels of each polygon, (N, 2).
        source: Its number among the sources of its clip; 0 where these have none.
    """

    label: str
    rings: list[NDArray[np.float64]]
    source: int = 0

    def mask(self, size: Size, where: str) -> NDArray[np.bool_]:
        """Pixels (H, W) that the polygons cover, edges included, for a picture of this size."""
        from PIL import Image, ImageDraw

        image = Image.new("1", (size[1], size[0]))
        draw = ImageDraw.Draw(image)
        for ring in self.rings:
            draw.polygon([(x, y) for x, y in (ring - 0.5).tolist()], fill=1)
        mask = np.array(image, bool)
        if not mask.any():
            raise field_error(where, "", f"a polygon of {self.label!r} covers no pixel of {_text(size)}.")
        return mask


@dataclass
class Runs:
    """An object as lengths of runs of pixels outside and inside, in turn.

    Attributes:
        label: Name of its class.
        counts: Lengths of runs, beginning outside.
        size: Height and width of the picture.
        by_column: Whether runs go down columns, as in COCO; else along rows.
        corner: Row and column of the upper left corner of the part that the runs fill.
        part: Height and width of that part; all of the picture by default.
        source: Its number among the sources of its clip; 0 where these have none.
    """

    label: str
    counts: NDArray[np.int64]
    size: Size
    by_column: bool = True
    corner: tuple[int, int] = (0, 0)
    part: Size | None = None
    source: int = 0

    def mask(self, size: Size, where: str) -> NDArray[np.bool_]:
        """Pixels (H, W) of the object; `size` must be its own."""
        if self.size != size:
            raise field_error(where, "", f"a mask of {self.label!r} is {_text(self.size)}, its picture {_text(size)}.")
        height, width = self.part or size
        top, left = self.corner
        if min(top, left) < 0 or top + height > size[0] or left + width > size[1]:
            raise field_error(
                where, "", f"a mask of {self.label!r}, {_text((height, width))} at {left}, {top}, leaves its picture."
            )
        pixels = decode_runs(self.counts, height * width, f"{where}: the mask of {self.label!r}")
        mask = np.zeros(size, bool)
        part = pixels.reshape(width, height).T if self.by_column else pixels.reshape(height, width)
        mask[top : top + height, left : left + width] = part
        return mask


Shape: TypeAlias = Box | Polygons | Runs


def box_of(label: str, corners: Sequence[float], size: Size, where: str) -> Box:
    """A box of corners x1, y1, x2, y2 in pixels of a picture of a size; what reaches over its edge is cut off.

    Raises:
        DataError: If it has no area, or leaves the picture by more than a hundredth.
    """
    height, width = size
    x1, y1, x2, y2 = corners
    fractions = np.array([x1 / width, y1 / height, x2 / width, y2 / height])
    inside = fractions.clip(0, 1)
    shown = ", ".join(f"{corner:g}" for corner in corners)
    if not np.isfinite(fractions).all() or np.abs(fractions - inside).max() > _MAX_OVERHANG:
        raise field_error(where, "", f"the box {shown} of {label!r} leaves its picture of {_text(size)}.")
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        raise field_error(where, "", f"the box {shown} of {label!r} has no area.")
    return Box(label, [round(value, 6) for value in inside.tolist()])


def polygons_of(label: str, rings: Sequence[Sequence[float]], where: str) -> Polygons:
    """Polygons of lists of x, y, x, y, ... in pixels.

    Raises:
        DataError: If one has fewer than three corners, or an odd number of numbers.
    """
    arrays = []
    for ring in rings:
        if len(ring) < 6 or len(ring) % 2:
            raise field_error(
                where, "", f"a polygon of {label!r} has {len(ring)} numbers; give x, y of three corners or more."
            )
        corners = np.array(ring, np.float64).reshape(-1, 2)
        if not np.isfinite(corners).all() or np.abs(corners).max() > MAX_PIXELS:
            raise field_error(where, "", f"a polygon of {label!r} has corners that are no places in a picture.")
        arrays.append(corners)
    return Polygons(label, arrays)


def check_size(height: float, width: float, where: str) -> Size:
    """Height and width as stated by a file; refuses what no picture has.

    Raises:
        DataError: If one is no positive whole number, or there are too many pixels.
    """
    if height != int(height) or width != int(width) or min(height, width) < 1 or height * width > MAX_PIXELS:
        raise field_error(
            where, "", f"states a picture of {width:g} x {height:g} pixels; up to {MAX_PIXELS} pixels are read."
        )
    return int(height), int(width)


def _text(size: Size) -> str:
    return f"{size[1]} x {size[0]} pixels"
