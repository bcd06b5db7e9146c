# SPDX-License-Identifier: Apache-2.0
"""AVSBench-semantic: the class of every pixel that sounds."""

from collections import Counter
from typing import Any

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Line
from avkit.datasets.folder import Places
from avkit.datasets.official import Official
from avkit.datasets.tables import read_rows, safe_id, unique
from avkit.errors import DataError, unknown_name

#: In index order from 1; index 0 is background.
CLASSES = [
    "accordion", "airplane", "axe", "baby", "bassoon", "bell", "bird", "boat", "boy", "bus", "car", "cat", "cello",
    "clarinet", "clipper", "clock", "dog", "donkey", "drum", "duck", "elephant", "emergency-car", "erhu", "flute",
    "frying-food", "girl", "goose", "guitar", "gun", "guzheng", "hair-dryer", "handpan", "harmonica", "harp",
    "helicopter", "hen", "horse", "keyboard", "leopard", "lion", "man", "marimba", "missile-rocket", "motorcycle",
    "mower", "parrot", "piano", "pig", "pipa", "saw", "saxophone", "sheep", "sitar", "sorna", "squirrel", "tabla",
    "tank", "tiger", "tractor", "train", "trombone", "truck", "trumpet", "tuba", "ukulele", "utv",
    "vacuum-cleaner", "violin", "wolf", "woman",
]  # fmt: skip

#: Parts of the data, and the seconds of their clips.
PARTS = {"v1s": 5, "v1m": 5, "v2": 10}
#: What the column of objects names beside classes.
_NO_CLASS = {"background", "off-the-screen"}


def palette_colour(index: int) -> tuple[int, int, int]:
    """The colour of a class in `labels_rgb`: its bits dealt to r, g, b in turn, from the top bit down (PASCAL VOC)."""
    r = g = b = 0
    for bit in range(8):
        r |= (index >> (3 * bit) & 1) << (7 - bit)
        g |= (index >> (3 * bit + 1) & 1) << (7 - bit)
        b |= (index >> (3 * bit + 2) & 1) << (7 - bit)
    return r, g, b


_BY_INDEX = {str(k): name for k, name in enumerate(CLASSES, 1)}
_BY_COLOUR = {"#{:02x}{:02x}{:02x}".format(*palette_colour(k)): name for k, name in enumerate(CLASSES, 1)}


class AVSBenchAVSS(Official):
    """AVSBench-semantic: 11,356 clips of 5 or 10 s, 70 classes.

    Splits: train 8,498, val 1,304, test 1,554, of which the parts `v1s`, `v1m` and `v2` may be asked for as releases.
    Clips of `v1s` count their first mask alone, in every split. Class maps (`labels_semantic`) are read where they are
    there, else colour maps (`labels_rgb`), in which a colour that is not of the palette is an error.

    Source:
        Zhou et al., Audio-Visual Segmentation with Semantics, IJCV 2024; loader of OpenNLPLab/AVSBench.
    """

    name = "avsbench-avss"
    title = "AVSBench-semantic"
    source = "AVSBench-semantic from the form of OpenNLPLab/AVSBench: metadata.csv and the folders v1s, v1m, v2"
    marks = ("metadata.csv", "v1s", "v2")
    releases = ("official", *PARTS)
    counts = {  # noqa: RUF012
        "official": {"train": 8498, "val": 1304, "test": 1554},
        "v1s": {"train": 3452, "val": 740, "test": 740},
        "v1m": {"train": 296, "val": 64, "test": 64},
        "v2": {"train": 4750, "val": 500, "test": 750},
    }
    fixed = None
    places = Places(
        frames=("{part}/{media}/frames/{k}.jpg",),
        sound=("{part}/{media}/audio.wav",),
        masks=("{part}/{media}/labels_semantic/{k}.png", "{part}/{media}/labels_rgb/{k}.png"),
        first=0,
    )

    def words(self, split: str) -> Vocabulary:
        """The 70 classes."""
        return Vocabulary(classes=list(CLASSES))

    def read(self, split: str) -> list[Line]:
        """Clips of a split in the order of the table."""
        path = self.file("metadata.csv")
        rows = read_rows(path, ["vid", "uid", "a_obj", "split", "label"])
        lines = []
        for k, row in enumerate(rows):
            where = f"{path}, row {k + 1}"
            if row["label"] not in PARTS:
                raise DataError(f"{where}: {unknown_name('part of AVSBench-semantic', row['label'], PARTS)}")
            if row["split"] != split or (self.release in PARTS and row["label"] != self.release):
                continue
            steps = PARTS[row["label"]]
            lines.append(
                self.line(
                    where,
                    id=safe_id(row["uid"], where),
                    names={"part": row["label"]},
                    steps=steps,
                    masked=[0] if row["label"] == "v1s" else list(range(steps)),
                    labels=self._objects(row["a_obj"], where),
                )
            )
        names = Counter(line.data["id"] for line in lines)
        unique(list(names.elements()), str(path))
        return lines

    def mask_values(self, file: str) -> dict[str, Any]:
        """Indices of class maps, or colours."""
        return {"classes": _BY_COLOUR if "/labels_rgb/" in file else _BY_INDEX}

    @staticmethod
    def _objects(text: str, where: str) -> list[str]:
        """Names of classes; one row of the table has a blank within a name."""
        names = [name.replace(" ", "") for name in text.split("_")]
        for name in names:
            if name not in CLASSES and name not in _NO_CLASS:
                raise DataError(f"{where}: {unknown_name('class of AVSBench-semantic', name, CLASSES)}")
        return [name for name in names if name not in _NO_CLASS]
