# SPDX-License-Identifier: Apache-2.0
"""Pixel values of a mask, whatever kind of PNG it is."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avkit.datasets.annotations import Annotation

#: Added to 0xRRGGBB of all colours but black, so that no colour equals a pixel value of a grey or palette PNG.
COLOUR_OFFSET = 1 << 24
#: Weights that turn red, green and blue into the number 0xRRGGBB.
_RGB_WEIGHTS = np.array([1 << 16, 1 << 8, 1])


def pixel_number(text: str | int) -> int:
    """The number of a pixel value as it is written in `classes` or `foreground`, such as 45, `45` or `#408080`."""
    if isinstance(text, str) and text.startswith("#"):
        colour = int(text[1:], 16)
        return colour + COLOUR_OFFSET if colour else 0
    return int(text)


def pixel_text(value: int) -> str:
    """A pixel value as it is written in `classes`; the inverse of `pixel_number`."""
    if value <= 65535:
        return str(value)
    return f"#{value - COLOUR_OFFSET:06x}"


def read_pixels(path: Path, annotation: Annotation, field: str) -> NDArray[np.int64]:
    """Pixel values of a PNG.

    Args:
        path: The PNG, of 1, 8 or 16 bit, palette or colour.
        annotation: The annotation that names it, for messages.
        field: Where the annotation names it, for messages.

    Returns:
        Grey level, palette index, or number of the colour (see `pixel_number`), (H, W).

    Raises:
        DataError: If it cannot be read, or is a PNG of another kind.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
    except OSError as error:
        raise annotation.error(
            field, f"{path.name!r} cannot be read as a picture ({error}). Export it again as PNG."
        ) from error
    if image.mode in ("RGB", "RGBA"):
        numbers = np.asarray(image.convert("RGB")).astype(np.int64) @ _RGB_WEIGHTS
        return np.where(numbers > 0, numbers + COLOUR_OFFSET, 0)
    values = np.asarray(image)
    if values.ndim != 2 or image.mode == "F":
        raise annotation.error(field, f"{path.name!r} is a PNG of mode {image.mode}; give grey, palette or RGB.")
    return values.astype(np.int64)
