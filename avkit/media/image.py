# SPDX-License-Identifier: Apache-2.0
"""Still pictures."""

from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from avkit.errors import MediaError

#: One picture, uint8 (H, W, 3), RGB.
Picture: TypeAlias = npt.NDArray[np.uint8]


def load_picture(path: str | Path) -> Picture:
    """A still picture, uint8 (H, W, 3), RGB, turned upright by its EXIF orientation.

    Raises:
        MediaError: If the file is damaged.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except OSError as error:
        raise MediaError(f"{path} is a damaged picture ({error}). Download or export it again.") from error
