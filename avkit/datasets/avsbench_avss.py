# SPDX-License-Identifier: Apache-2.0
"""AVSBench-semantic: the class of every pixel that sounds."""

from collections.abc import Mapping

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Annotation
from avkit.datasets.folder import MediaPatterns
from avkit.datasets.official import Official
from avkit.datasets.tables import check_unique, read_rows, safe_id
from avkit.errors import DataError, unknown_name

#: Names of classes in index order from 1; index 0 is background.
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
#: Names in the column of objects that are no classes.
_NO_CLASSES = {"background", "off-the-screen"}


def palette_colour(index: int) -> tuple[int, int, int]:
    """The colour of a class in `labels_rgb`: its bits dealt to r, g, b in turn, from the top bit down (PASCAL VOC)."""
    red = green = blue = 0
    for bit in range(8):
        red |= (index >> (3 * bit) & 1) << (7 - bit)
        green |= (index >> (3 * bit + 1) & 1) << (7 - bit)
        blue |= (index >> (3 * bit + 2) & 1) << (7 - bit)
    return red, green, blue


#: Class of each pixel value in class maps and in colour maps.
_CLASS_OF_INDEX = {str(index): name for index, name in enumerate(CLASSES, 1)}
_CLASS_OF_COLOUR = {"#{:02x}{:02x}{:02x}".format(*palette_colour(index)): name for index, name in enumerate(CLASSES, 1)}


class AVSBenchAVSS(Official):
    """AVSBench-semantic: 11,356 clips of 5 or 10 s, 70 classes.

    Splits: train 8,498, val 1,304, test 1,554, of which the parts `v1s`, `v1m` and `v2` may be asked for as releases.
    Clips of `v1s` count their first mask alone, in every split. Class maps (`labels_semantic`) are read where they
    exist, else colour maps (`labels_rgb`), in which a colour that is not of the palette is an error.

    Source:
        Zhou et al., Audio-Visual Segmentation with Semantics, IJCV 2024; loader of OpenNLPLab/AVSBench.
    """

    name = "avsbench-avss"
    title = "AVSBench-semantic"
    source = "AVSBench-semantic from the form of OpenNLPLab/AVSBench: metadata.csv and the folders v1s, v1m, v2"
    how_to_get = (
        "Its authors give it on request: fill in the form that the readme of OpenNLPLab/AVSBench links, ask for "
        "AVSBench-semantic, and unpack metadata.csv and the folders v1s, v1m and v2. Ask them whether masks may be "
        "passed on, and commercial use is allowed: the repository's Apache-2.0 does not speak for the videos."
    )
    marker_files = ("metadata.csv", "v1s", "v2")
    releases = ("official", *PARTS)
    counts = {  # noqa: RUF012
        "official": {"train": 8498, "val": 1304, "test": 1554},
        "v1s": {"train": 3452, "val": 740, "test": 740},
        "v1m": {"train": 296, "val": 64, "test": 64},
        "v2": {"train": 4750, "val": 500, "test": 750},
    }
    fixed_steps = None
    patterns = MediaPatterns(
        frames=("{part}/{media}/frames/{k}.jpg",),
        audio=("{part}/{media}/audio.wav",),
        masks=("{part}/{media}/labels_semantic/{k}.png", "{part}/{media}/labels_rgb/{k}.png"),
        first=0,
    )

    def read_annotations(self, split: str) -> list[Annotation]:
        """Clips of a split in the order of the table."""
        path = self.annotation_file("metadata.csv")
        parts = [self.release] if self.release in PARTS else list(PARTS)
        annotations = []
        for k, row in enumerate(read_rows(path, ["vid", "uid", "a_obj", "split", "label"])):
            where = f"{path}, row {k + 1}"
            if row["label"] not in PARTS:
                raise DataError(f"{where}: {unknown_name('part of AVSBench-semantic', row['label'], PARTS)}")
            if row["split"] == split and row["label"] in parts:
                annotations.append(self._parse_row(row, where))
        check_unique([annotation.id for annotation in annotations], str(path))
        return annotations

    def read_vocabulary(self) -> Vocabulary:
        """The 70 classes."""
        return Vocabulary(classes=list(CLASSES))

    def mask_classes(self, file: str) -> Mapping[str, str | None]:
        """Classes of the indices of class maps, or of the colours of colour maps."""
        return _CLASS_OF_COLOUR if "/labels_rgb/" in file else _CLASS_OF_INDEX

    def _parse_row(self, row: dict[str, str], where: str) -> Annotation:
        part = row["label"]
        steps = PARTS[part]
        return Annotation(
            id=safe_id(row["uid"], where),
            where=where,
            root=self.root.path,
            placeholders={"part": part},
            steps=steps,
            mask_steps=[0] if part == "v1s" else list(range(steps)),
            labels=_parse_objects(row["a_obj"], where),
        )


def _parse_objects(text: str, where: str) -> list[str]:
    """Names of classes; one row of the table has a blank within a name."""
    names = text.replace(" ", "").split("_")
    for name in names:
        if name not in CLASSES and name not in _NO_CLASSES:
            raise DataError(f"{where}: {unknown_name('class of AVSBench-semantic', name, CLASSES)}")
    return [name for name in names if name not in _NO_CLASSES]
