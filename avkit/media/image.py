# SPDX-License-Identifier: Apache-2.0
"""Still images."""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from avkit.errors import MediaError
from avkit.reading.pictures import open_picture

#: One image or video frame, uint8 (H, W, 3), RGB.
ImageArray: TypeAlias = npt.NDArray[np.uint8]

#: Pillow's modes of grey that has more than 8 bits.
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
_MAX_16_BIT = 65535


def load_image(path: str | Path) -> ImageArray:
    """Load a still image, turned upright by its EXIF orientation.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        MediaError: If the file is damaged or too large, or its grey values have no known white.
    """
    from PIL import ImageOps

    with open_picture(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in _DEEP_MODES:
            return _scale_grey(np.asarray(upright), path)
        return np.array(upright.convert("RGB"))


def _scale_grey(grey: npt.NDArray[Any], path: str | Path) -> ImageArray:
    """Grey of more than 8 bits (H, W) as RGB.

    Raises:
        MediaError: If it is neither whole numbers of 16 bits nor floats from 0 to 1.
    """
    most = 1.0 if grey.dtype.kind == "f" else _MAX_16_BIT
    if grey.size and not (grey.min() >= 0 and grey.max() <= most):
        raise MediaError(
            f"{path} has grey values from {grey.min():g} to {grey.max():g}, and which of them is white is not known. "
            f"Save it as 8 bits, 16 bits, or floats from 0 to 1."
        )
    scaled = np.rint(grey.astype(np.float32) * (255 / most)).astype(np.uint8)
    return np.repeat(scaled[:, :, None], 3, axis=2)


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width of a still image in pixels, upright; only the file's header is read.

    Raises:
        MediaError: If the file is damaged.
    """
    from PIL import ExifTags

    with open_picture(path) as image:
        width, height = image.size
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    lies_on_its_side = orientation in (5, 6, 7, 8)
    return (width, height) if lies_on_its_side else (height, width)
