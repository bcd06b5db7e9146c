# SPDX-License-Identifier: Apache-2.0
"""Pixel values of a mask, whatever kind of PNG it is."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avkit.datasets.annotations import Line

#: Added to 0xRRGGBB of all colours but black, so that no colour equals a pixel value of a grey or palette PNG.
COLOURED = 1 << 24


def value_of(text: str | int) -> int:
    """The number of a pixel value as written in `classes` or `foreground`."""
    if isinstance(text, str) and text.startswith("#"):
        colour = int(text[1:], 16)
        return colour + COLOURED if colour else 0
    return int(text)


def pixel_values(path: Path, line: Line, field: str) -> NDArray[np.int64]:
    """Pixel values (H, W) of a PNG: grey level, palette index, or colour as a number, see `value_of`."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
    except OSError as error:
        raise line.fault(
            field, f"{path.name!r} cannot be read as a picture ({error}). Export it again as PNG."
        ) from error
    if image.mode in ("RGB", "RGBA"):
        rgb = np.asarray(image.convert("RGB")).astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
        return np.where(rgb > 0, rgb + COLOURED, 0)
    values = np.asarray(image)
    if values.ndim != 2 or image.mode == "F":
        raise line.fault(field, f"{path.name!r} is a PNG of mode {image.mode}; give grey, palette or RGB.")
    return values.astype(np.int64)
