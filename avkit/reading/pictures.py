# SPDX-License-Identifier: Apache-2.0
"""Opening pictures: known formats only, and no larger than memory allows."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.errors import MediaError
from avkit.reading.boundary import file_errors
from avkit.reading.copies import local_copy

if TYPE_CHECKING:
    from PIL.Image import Image

#: Formats that are read; others, such as EPS, start programs.
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM", "JPEG2000")
#: Pixels of the largest picture, 8192 x 8192.
MAX_PIXELS = 2**26


@contextmanager
def open_picture(path: str | Path) -> Iterator["Image"]:
    """A picture, for reading; whatever Pillow raises in the block becomes a `MediaError`.

    Raises:
        MediaError: If the file is damaged, of another format, or states more than `MAX_PIXELS`.
    """
    from PIL import Image

    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    with (
        file_errors(path, "is a damaged picture", "Download or export it again.", MediaError),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of large pictures, which are refused below, and of damaged metadata
        with local_copy(path) as here, Image.open(here, formats=formats) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise MediaError(
                    f"{path} is a picture of {width} x {height} pixels; up to {MAX_PIXELS} are read. Scale it down."
                )
            yield image
