# SPDX-License-Identifier: Apache-2.0
"""Flickr-SoundNet: pictures with boxes by several people of where the sound comes from."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from avkit.datasets.annotations import Annotation, BoxAnnotation
from avkit.datasets.sound_source import SIDE, SoundSource
from avkit.datasets.tables import check_unique, read_cells, safe_id
from avkit.errors import DataError
from avkit.reading.text import read_text

#: Height and width of the grid on which boxes are drawn, in pixels.
_GRID = 256
#: Sizes of the picture beyond which no corner lies.
_FAR = 100


class FlickrSoundNet(SoundSource):
    """Flickr-SoundNet: 249 test pictures, 250 in the list of SLAVC; training lists name photos.

    Splits: train (releases `144k`, `10k`), test. Each person's boxes are summed, halved and capped at 1, so that a
    pixel needs two people to count in full.

    Source:
        Senocak et al., Learning to Localize Sound Source in Visual Scenes, CVPR 2018; loader of stoneMo/EZ-VSL.
        Coordinates are scaled by 224/256 and truncated.
    """

    name = "flickr-soundnet"
    title = "Flickr-SoundNet"
    source = (
        "flickr_test.csv from stoneMo/EZ-VSL and Annotations/*.xml from "
        "ardasnck/learning_to_localize_sound_source; photos and sound from Flickr"
    )
    how_to_get = (
        "Boxes (Annotations/*.xml) are linked in the readme of ardasnck/learning_to_localize_sound_source, whose "
        "authors state no licence: ask them under which one the boxes may be used and passed on. Pictures and sound "
        "are those of Flickr-SoundNet (cvondrick/soundnet), as frames/ID.jpg and audio/ID.wav."
    )
    marker_files = ("flickr_test.csv",)
    releases = ("144k", "10k")
    counts = {  # noqa: RUF012
        "144k": {"val": 249, "test": 249},
        "10k": {"train": 10_000, "val": 249, "test": 249},
    }

    def read_annotations(self, split: str) -> list[Annotation]:
        """Pictures of the test in the order of the list, or photos of a training list."""
        if split == "train":
            name = f"flickr_{self.release}"
            return self.read_training_list(f"{name}.txt", f"{name}.csv", f"ezvsl_{name}.txt")
        path = self.annotation_file("flickr_test.csv", "slavc_flickr_test.csv")
        annotations = []
        for k, cells in enumerate(read_cells(path), 1):
            where = f"{path}, line {k}"
            annotations.append(self.pair(safe_id(cells[0], where), where, boxes=[]))
        check_unique([annotation.id for annotation in annotations], str(path))
        return annotations

    def locate(self, annotation: Annotation) -> str:
        """As for all; boxes are read from their own file."""
        missing = super().locate(annotation)
        if missing or annotation.boxes is None:
            return missing
        name = self.root.find_file(("Annotations/{media}.xml", "{media}.xml"), {"media": annotation.media})
        if name is None:
            return "boxes (Annotations/{media}.xml)"
        path = self.root.path / name
        self._annotation_files[path] = None
        annotation.boxes = read_boxes(path)
        return ""

    def source_map(self, boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        """Half of the number of boxes over each pixel, capped at 1."""
        counts = np.zeros((SIDE, SIDE), np.float32)
        corners = np.rint(boxes * _GRID) * SIDE / _GRID
        for x1, y1, x2, y2 in corners.astype(int).tolist():
            counts[y1:y2, x1:x2] += 1
        return np.minimum(counts / 2, 1)


def read_boxes(path: Path) -> list[BoxAnnotation]:
    """Boxes of all people in one file: `bbox` elements below each child of the root; others are left out.

    Raises:
        DataError: If it is no XML, declares entities, or a box is not a label and four whole numbers.
    """
    text = read_text(path)
    if "<!ENTITY" in text or "<!DOCTYPE" in text:
        raise DataError(f"{path} declares a document type or entities, which boxes do not need. It is refused.")
    boxes = []
    try:
        for person in ElementTree.fromstring(text):
            for element in person:
                if element.tag == "bbox":
                    boxes.append(BoxAnnotation(step=0, box=_read_corners(element)))
    except (ElementTree.ParseError, ValueError, OverflowError) as error:
        raise DataError(f"{path} holds no boxes that can be read ({error}). Download it again.") from error
    return boxes


def _read_corners(element: ElementTree.Element) -> list[float]:
    """x1, y1, x2, y2 as fractions of width and height; they follow the label."""
    corners = [int(float(child.text or "")) / _GRID for child in list(element)[1:5]]
    if len(corners) != 4:
        raise ValueError("a bbox has fewer than five parts")
    if max(map(abs, corners)) > _FAR:
        raise ValueError(f"a corner lies at {max(corners, key=abs):g} times the picture")
    return corners
