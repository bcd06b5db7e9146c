# SPDX-License-Identifier: Apache-2.0
"""Still images."""

from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from avkit.errors import MediaError

#: One image or video frame, uint8 (H, W, 3), RGB.
ImageArray: TypeAlias = npt.NDArray[np.uint8]


def load_image(path: str | Path) -> ImageArray:
    """Load a still image, turned upright by its EXIF orientation.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        MediaError: If the file is damaged.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except OSError as error:
        raise _damaged(path, error) from error


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width of a still image in pixels, upright; only the file's header is read.

    Raises:
        MediaError: If the file is damaged.
    """
    from PIL import ExifTags, Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except OSError as error:
        raise _damaged(path, error) from error
    lies_on_its_side = orientation in (5, 6, 7, 8)
    return (width, height) if lies_on_its_side else (height, width)


def _damaged(path: str | Path, error: OSError) -> MediaError:
    return MediaError(f"{path} is a damaged picture ({error}). Download or export it again.")
