# SPDX-License-Identifier: Apache-2.0
"""Pixel values of a mask, whatever kind of PNG it is."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from avkit.datasets.annotations import Annotation
from avkit.errors import MediaError
from avkit.reading.pictures import open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

Pixel = TypeVar("Pixel", bound=np.generic)

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
        path: The PNG, of 1, 8 or 16 bit, palette or colour, with or without transparency.
        annotation: The annotation that names it, for messages.
        field: Where the annotation names it, for messages.

    Returns:
        Grey level, palette index, or number of the colour (see `pixel_number`), (H, W); 0 where it is transparent.

    Raises:
        DataError: If it cannot be read, is no PNG or one of another kind, or has half-transparent pixels.
    """
    try:
        with open_picture(path) as image:
            if image.format != "PNG":
                raise annotation.error(
                    field,
                    f"{path.name!r} is a {image.format} picture. Its compression changes pixel values, and they "
                    "are what a mask says: export it as PNG.",
                )
            image.load()
    except MediaError as error:
        raise annotation.error(
            field, f"{path.name!r} cannot be read as a picture ({error}). Export it again as PNG."
        ) from error
    alpha = _alpha(image)
    if alpha is not None and ((alpha > 0) & (alpha < 255)).any():
        raise annotation.error(
            field,
            f"{path.name!r} has half-transparent pixels, which are neither background nor object. Export it without "
            "smooth edges, or without transparency.",
        )
    values = _values(image)
    if values is None:
        raise annotation.error(field, f"{path.name!r} is a PNG of mode {image.mode}; give grey, palette or RGB.")
    return values if alpha is None else np.where(alpha > 0, values, 0)


def resize_nearest(values: NDArray[Pixel], size: int | tuple[int, int]) -> NDArray[Pixel]:
    """The pixels of a mask nearest to the centres of a grid of a height and width, one number for both."""
    height, width = values.shape
    new_height, new_width = (size, size) if isinstance(size, int) else size
    rows = (np.arange(new_height) * 2 + 1) * height // (2 * new_height)
    columns = (np.arange(new_width) * 2 + 1) * width // (2 * new_width)
    resized: NDArray[Pixel] = values[np.ix_(rows, columns)]
    return resized


def mask_levels(path: Path) -> list[int]:
    """Values above 0 of a grey PNG, sorted; none for pictures of other kinds and files that cannot be read."""
    try:
        with open_picture(path) as image:
            if image.mode not in ("L", "I;16", "I"):
                return []
            values = np.unique(np.asarray(image))
    except MediaError:
        return []
    levels: list[int] = values[values > 0].tolist()
    return levels


def _alpha(image: "Image") -> NDArray[np.uint8] | None:
    """Opacity of each pixel, (H, W) from 0 to 255; None where all of the picture is opaque by its kind."""
    if image.mode in ("RGBA", "LA"):
        return np.asarray(image.getchannel("A"))
    if "transparency" not in image.info or image.mode == "1":
        return None
    if image.mode.startswith("I"):
        return np.where(np.asarray(image) == image.info["transparency"], 0, 255).astype(np.uint8)
    return np.asarray(image.convert("RGBA").getchannel("A"))


def _values(image: "Image") -> NDArray[np.int64] | None:
    """Value of each pixel, (H, W); None for a kind of picture that has no values."""
    if image.mode in ("RGB", "RGBA"):
        numbers = np.asarray(image.convert("RGB")).astype(np.int64) @ _RGB_WEIGHTS
        return np.where(numbers > 0, numbers + COLOUR_OFFSET, 0)
    values = np.asarray(image.getchannel("L") if image.mode == "LA" else image)
    if values.ndim != 2 or image.mode == "F":
        return None
    return values.astype(np.int64)
