# SPDX-License-Identifier: Apache-2.0
"""Flickr-SoundNet: pictures with boxes by several people of where the sound comes from."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from avkit.datasets.annotations import Line
from avkit.datasets.tables import read_cells, read_text, safe_id, unique
from avkit.datasets.vggss import SIDE, SoundSource
from avkit.errors import DataError

#: Boxes lie on a grid of so many pixels.
_GRID = 256


class FlickrSoundNet(SoundSource):
    """Flickr-SoundNet: 249 or 250 test pictures; training lists name photos.

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
    marks = ("flickr_test.csv",)
    releases = ("144k", "10k")

    def read(self, split: str) -> list[Line]:
        """Pictures of the test in the order of the list, or photos of a training list."""
        if split == "train":
            return self.training(
                f"flickr_{self.release}.txt", f"flickr_{self.release}.csv", f"ezvsl_flickr_{self.release}.txt"
            )
        path = self.file("flickr_test.csv", "slavc_flickr_test.csv")
        names = [safe_id(row[0], f"{path}, line {k + 1}") for k, row in enumerate(read_cells(read_text(path)))]
        unique(names, str(path))
        return [self.pair(name, f"{path}, line {k + 1}", boxes=[]) for k, name in enumerate(names)]

    def locate(self, line: Line) -> str:
        """As for all; and the boxes from their own file."""
        lack = super().locate(line)
        if lack or "boxes" not in line.data:
            return lack
        name = self.root.first(("Annotations/{media}.xml", "{media}.xml"), {"media": line.media})
        if name is None:
            return "boxes (Annotations/{media}.xml)"
        line.data["boxes"] = read_boxes(self.root.path / name)
        return ""

    def source_map(self, boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        """Half of the number of boxes over each pixel, capped at 1."""
        out = np.zeros((SIDE, SIDE), np.float32)
        for x1, y1, x2, y2 in (np.rint(boxes * _GRID) * SIDE / _GRID).astype(int).tolist():
            out[y1:y2, x1:x2] += 1
        return np.minimum(out / 2, 1)


def read_boxes(path: Path) -> list[dict[str, Any]]:
    """Boxes of all people in one file: `bbox` elements below each child of the root; others are left out.

    Raises:
        DataError: If it is no XML, declares entities, or a box is not a label and four whole numbers.
    """
    text = read_text(path)
    if "<!ENTITY" in text or "<!DOCTYPE" in text:
        raise DataError(f"{path} declares a document type or entities, which boxes do not need. It is refused.")
    try:
        root = ElementTree.fromstring(text)
        rows = [
            [int(float(child.text or "")) for child in list(box)[1:5]]
            for person in root
            for box in person
            if box.tag == "bbox"
        ]
        if any(len(row) != 4 for row in rows):
            raise ValueError("a bbox has fewer than five parts")
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path} holds no boxes that can be read ({error}). Download it again.") from error
    return [{"step": 0, "box": [x / _GRID for x in row]} for row in rows]
