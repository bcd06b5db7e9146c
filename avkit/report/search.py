# SPDX-License-Identifier: Apache-2.0
"""A page with what a search found: for each hit its moment's picture, the mask on it, and what was said."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from avkit.files import write_file
from avkit.report.files import render
from avkit.report.images import fit_labels, jpeg_uri, picture

_WIDTH = 480


class Found(Protocol):
    """What of a hit is shown, see `avkit.inference.retrieval.Hit`."""

    video: str
    start: float
    end: float
    score: float
    caption: str
    moment: float
    mask: NDArray[np.uint8]


def write_page(path: Path, hits: Sequence[Found], asked: str) -> Path:
    """Write one HTML file that needs no other; videos that are gone are listed without their picture."""
    entries = [{"hit": hit, "name": Path(hit.video).name, "uri": _uri(hit), "box": box(hit.mask)} for hit in hits]
    return write_file(path, render("search.html.j2", entries=entries, asked=asked))


def box(mask: NDArray[np.uint8]) -> list[float] | None:
    """Left, top, right, bottom in [0, 1] of a mask (H, W); None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    height, width = mask.shape
    edges = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
    return [round(float(x), 4) for x in edges]


def _uri(hit: Found) -> str:
    """The moment's picture with the mask on it, or empty."""
    from avkit.errors import MediaError
    from avkit.media.video import read_frames

    try:
        image: Any = read_frames(hit.video, [hit.moment])[0].permute(1, 2, 0).numpy()
    except MediaError:
        return ""
    return jpeg_uri(picture(image, _WIDTH, fit_labels(hit.mask.astype(np.float32), image.shape[:2])))
