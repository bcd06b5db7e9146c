# SPDX-License-Identifier: Apache-2.0
"""What the pixels of predicted masks say: yes or no, probabilities as grey, or classes by index or official colour."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from avkit.errors import DataError
from avkit.reading.pictures import open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

#: Weights that turn red, green and blue into one number.
_RGB = np.array([1 << 16, 1 << 8, 1])


@dataclass(frozen=True)
class Grey:
    """Levels of a picture.

    Attributes:
        values: (H, W).
        white: The level that stands for 1.
    """

    values: NDArray[np.int64]
    white: int


@dataclass(frozen=True)
class MaskScale:
    """How the levels of all masks of a folder are read.

    Attributes:
        binary: Whether any level but 0 is the mask; else levels are probabilities.
        note: The same in words.
    """

    binary: bool
    note: str

    def probabilities(self, grey: Grey) -> NDArray[np.float32]:
        """Probability of each pixel, (H, W)."""
        if self.binary:
            return (grey.values > 0).astype(np.float32)
        return grey.values.astype(np.float32) / np.float32(grey.white)


@dataclass
class LevelCounts:
    """What levels occur in masks, by which it is told how they are meant.

    Attributes:
        sources: Highest level that may be the number of a source, as in the masks of f-Music; 0 for none.
        several: A file with more than one level beside 0; None where there is none.
        highest: The highest level.
        lightest: The highest level as a share of white.
    """

    sources: int = 0
    several: Path | None = None
    highest: int = 0
    lightest: float = 0.0

    def add(self, path: Path, grey: Grey) -> None:
        """Add a mask."""
        levels = np.flatnonzero(np.bincount(grey.values.ravel()))
        if self.several is None and np.count_nonzero(levels) > 1:
            self.several = path
        self.highest = max(self.highest, int(levels[-1]))
        self.lightest = max(self.lightest, float(levels[-1] / grey.white))

    def scale(self) -> MaskScale:
        """How all masks are read: one level beside 0 in each, or numbers of sources, are a mask; else probabilities.

        Raises:
            DataError: If they are neither, such as numbers of classes.
        """
        if self.several is None:
            return MaskScale(True, "Masks have one level beside 0, which is the mask.")
        if self.highest <= self.sources:
            return MaskScale(True, "Levels of masks are numbers of sources, and any but 0 is the mask.")
        if self.lightest <= 0.5:
            raise DataError(
                f"{self.several}: it has several levels, and none of any mask is above {self.lightest:.3g} of white, "
                "so that every mask would be empty. They look like numbers of classes or sources: save 0 and 255, or "
                "probabilities times 255."
            )
        return MaskScale(False, "Grey levels of masks are probabilities, in steps of 1/255.")


def read_grey(path: Path) -> Grey:
    """The levels of a mask: grey, or indices of a palette of colours.

    Raises:
        DataError: If it cannot be read, or has colours or transparent pixels.
    """
    with open_picture(path) as image:
        image.load()
        opaque = _opaque(image, path)
        if opaque.mode == "1":
            return Grey(np.asarray(opaque).astype(np.int64), 1)
        if opaque.mode.startswith("I"):
            return Grey(np.asarray(opaque).astype(np.int64), 65535)
        if opaque.mode == "P" and _has_grey_palette(opaque):
            opaque = opaque.convert("L")
        if opaque.mode in ("L", "P"):
            return Grey(np.asarray(opaque).astype(np.int64), 255)
        if opaque.mode == "RGB":
            pixels = np.asarray(opaque)
            if (pixels[..., :1] == pixels).all():
                return Grey(pixels[..., 0].astype(np.int64), 255)
            raise DataError(
                f"{path}: it has colours, and a mask is grey. Name the dataset of colour maps, or save 0 and 255."
            )
        raise DataError(f"{path}: it is a PNG of mode {opaque.mode}. Save masks as 8-bit grey.")


def read_classes(path: Path, colours: Mapping[int, int], count: int) -> NDArray[np.uint8]:
    """The class of each pixel of a class map, by index (grey, palette) or by the official colour (RGB).

    Args:
        path: The PNG.
        colours: Class by colour, as 0xRRGGBB.
        count: Number of classes, background included.

    Returns:
        uint8 (H, W).

    Raises:
        DataError: If it cannot be read, or a pixel is no class.
    """
    with open_picture(path) as image:
        image.load()
        opaque = _opaque(image, path)
        by_colour = opaque.mode == "RGB" or (opaque.mode == "P" and not _has_grey_palette(opaque))
        pixels = np.asarray(opaque.convert("RGB") if by_colour else opaque).astype(np.int64)
    if by_colour:
        return _classes_of_colours(pixels @ _RGB, colours, path)
    if pixels.ndim != 2:
        raise DataError(f"{path}: it is no class map. Save the number of the class as 8-bit grey, or its colour.")
    wrong = pixels >= count
    if wrong.any():
        value, place = _example(pixels, wrong)
        raise DataError(
            f"{path}: {wrong.sum()} pixels are of no class, such as {value} {place}. Classes are 0 (background) to "
            f"{count - 1}."
        )
    return pixels.astype(np.uint8)


def _classes_of_colours(numbers: NDArray[np.int64], colours: Mapping[int, int], path: Path) -> NDArray[np.uint8]:
    present, inverse = np.unique(numbers, return_inverse=True)
    classes = np.array([colours.get(number, -1) for number in present.tolist()])
    mapped = classes[inverse].reshape(numbers.shape)
    if (mapped < 0).any():
        value, place = _example(numbers, mapped < 0)
        raise DataError(
            f"{path}: {(mapped < 0).sum()} pixels have a colour that is no class's, such as #{value:06x} {place}. Save "
            "colours of the official palette without smoothing, or numbers of classes."
        )
    return mapped.astype(np.uint8)


def _example(values: NDArray[np.int64], wrong: NDArray[np.bool_]) -> tuple[int, str]:
    """The first wrong value, and its place in words."""
    row, column = np.argwhere(wrong)[0].tolist()
    return int(values[row, column]), f"in row {row}, column {column}"


def _opaque(image: "Image", path: Path) -> "Image":
    """The picture without its transparency, which must not hide a pixel.

    Raises:
        DataError: If a pixel is transparent.
    """
    if image.mode not in ("RGBA", "LA", "PA"):
        return image
    if np.asarray(image.getchannel("A")).min() < 255:
        raise DataError(f"{path}: it has transparent pixels, which are neither mask nor background. Save it opaque.")
    return image.convert({"RGBA": "RGB", "LA": "L", "PA": "P"}[image.mode])


def _has_grey_palette(image: "Image") -> bool:
    """Whether each index of a palette is its own grey level, as of a grey picture saved with a palette."""
    palette = np.array(image.getpalette("RGB") or [], np.int64).reshape(-1, 3)
    return bool((palette == np.arange(len(palette))[:, None]).all())
