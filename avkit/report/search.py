# SPDX-License-Identifier: Apache-2.0
"""A page with the hits of a search: for each one the picture of its best step, the mask on it, and its caption."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from avkit.errors import MediaError
from avkit.files import write_file
from avkit.media.video import read_frames
from avkit.report.files import render
from avkit.report.images import Pixels, fit_labels, jpeg_uri, picture

_WIDTH = 480


class PageHit(Protocol):
    """What of a hit is shown, see `avkit.inference.search.Hit`."""

    video: str
    start: float
    end: float
    score: float
    caption: str
    moment: float
    mask: NDArray[np.uint8]


def write_page(path: Path, hits: Sequence[PageHit], query: str, warning: str = "") -> Path:
    """Write one HTML file that needs no other; videos that are gone are listed without their picture.

    Args:
        path: The file.
        hits: What was found.
        query: The query in words.
        warning: What a reader must know first; empty if there is nothing.
    """
    names = Counter(Path(hit.video).name for hit in hits)
    entries = []
    for hit in hits:
        name = Path(hit.video).name
        entries.append({"hit": hit, "name": hit.video if names[name] > 1 else name, "uri": _picture_uri(hit)})
    return write_file(path, render("search.html.j2", entries=entries, query=query, warning=warning))


def box(mask: NDArray[np.uint8]) -> list[float] | None:
    """Left, top, right, bottom in [0, 1] of a mask (H, W); None where it is empty."""
    rows = np.flatnonzero(mask.any(1))
    columns = np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    height, width = mask.shape
    edges = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
    return [round(float(x), 4) for x in edges]


def _picture_uri(hit: PageHit) -> str:
    """The picture of the best step with the mask on it; empty if the video cannot be read."""
    try:
        frame = read_frames(hit.video, [hit.moment])[0]
    except MediaError:
        return ""
    image: Pixels = frame.permute(1, 2, 0).numpy()
    labels = fit_labels(hit.mask.astype(np.float32), image.shape[:2])
    return jpeg_uri(picture(image, _WIDTH, labels))
