# SPDX-License-Identifier: Apache-2.0
"""VGG-SS: where in a picture the sound comes from; boxes for the test alone."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avkit.datasets.annotations import Annotation, BoxAnnotation
from avkit.datasets.json_records import JsonRecord, read_records
from avkit.datasets.sound_source import SIDE, SoundSource
from avkit.datasets.tables import check_unique, read_rows, safe_id
from avkit.errors import DataError
from avkit.reading.remote import list_names

#: What a record has.
_FORM = "A record has file, class and bbox: [[x1, y1, x2, y2], ...]"


class VGGSS(SoundSource):
    """VGG-SS: 5,158 pictures with 5,941 boxes of 221 classes, for the test; training lists name clips of VGGSound.

    Splits: train (releases `144k`, `10k`, `full`: every clip that has a picture and sound and is not of the test, and
    `heard`: 110 classes), test 5,158, of which `heard` and `unheard` take 2,564 and 2,575, and `silent` adds 5,158
    pairs in which nothing in view sounds (SLAVC). Coordinates are clipped to the picture and boxes without area left
    out, after which two records have none.

    Source:
        Chen et al., Localizing Visual Sounds the Hard Way, CVPR 2021; loader of stoneMo/EZ-VSL. The map is 1 from the
        truncated first to the truncated last coordinate of each box on 224 x 224.
    """

    name = "vggss"
    title = "VGG-SS"
    source = (
        "vggss.json from hche11/Localizing-Visual-Sounds-the-Hard-Way, lists from stoneMo/EZ-VSL and SLAVC; "
        "clips from VGGSound"
    )
    how_to_get = (
        "Clips are those of VGGSound (www.robots.ox.ac.uk/~vgg/data/vggsound): a picture of each as frames/ID.jpg and "
        "its sound as audio/ID.wav, or videos/ID.mp4. Ask its authors for clips that YouTube has no more."
    )
    marker_files = ("vggss.json",)
    releases = ("144k", "10k", "full", "heard", "unheard", "silent")
    counts = {  # noqa: RUF012
        "144k": {"val": 5158, "test": 5158},
        "10k": {"train": 10_000, "val": 5158, "test": 5158},
        "full": {"val": 5158, "test": 5158},
        "heard": {"val": 2564, "test": 2564},
        "unheard": {"val": 2575, "test": 2575},
        "silent": {"val": 10_316, "test": 10_316},
    }

    def read_annotations(self, split: str) -> list[Annotation]:
        """Pictures of the test in the order of `vggss.json`, or clips of a training list."""
        if split == "train":
            return self._read_training()
        path = self.annotation_file("vggss.json")
        annotations = [self._parse_record(record) for record in read_records(path, _FORM)]
        check_unique([annotation.id for annotation in annotations], str(path))
        if self.release in ("heard", "unheard"):
            return self._select(annotations, path)
        if self.release == "silent":
            return annotations + self._read_silent()
        return annotations

    def source_map(self, boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        """The union of the boxes."""
        union = np.zeros((SIDE, SIDE), np.float32)
        for x1, y1, x2, y2 in (boxes * SIDE).astype(int).tolist():
            union[y1:y2, x1:x2] = 1
        return union

    def _read_training(self) -> list[Annotation]:
        if self.release == "full":
            return self._read_full()
        name = {"silent": "144k", "unheard": "heard"}.get(self.release, self.release)
        return self.read_training_list(
            f"vggss_{name}.txt",
            f"vggss_{name}.csv",
            f"vggss_{name}_train.csv",
            f"vggss_{name}_train.txt",
            f"ezvsl_vggss_{name}.txt",
        )

    def _select(self, annotations: list[Annotation], path: Path) -> list[Annotation]:
        """The pictures of the list of classes heard, or not heard, in training."""
        name = self.release
        chosen = self.read_training_list(f"vggss_{name}_test.csv", f"ezvsl_vggss_{name}_test.csv", f"vggss_{name}.csv")
        by_id = {annotation.id: annotation for annotation in annotations}
        absent = [annotation.id for annotation in chosen if annotation.id not in by_id]
        if absent:
            raise DataError(f"{len(absent)} clips of the list, such as {absent[0]!r}, are not in {path}.")
        return [by_id[annotation.id] for annotation in chosen]

    def _read_silent(self) -> list[Annotation]:
        """Pairs of a picture and a sound whose source is not in view."""
        path = self.annotation_file("vggss_test_plus_silent.csv", "slavc_vggss_test_plus_silent.csv")
        annotations = []
        for k, row in enumerate(read_rows(path, ["video", "audio", "label"])):
            if row["label"] != "non-sounding":
                continue
            where = f"{path}, row {k + 1}"
            annotation = self.pair(safe_id(row["video"], where), where, safe_id(row["audio"], where), boxes=[])
            annotation.id = f"{annotation.id}#silent"
            annotations.append(annotation)
        return annotations

    def _read_full(self) -> list[Annotation]:
        """All clips with a picture and sound in `frames` and `audio`, by name, but those of the test."""
        pictures = self._names_in("frames", (".jpg", ".png"))
        sounds = self._names_in("audio", (".wav",))
        test = {record.text("file") for record in read_records(self.annotation_file("vggss.json"), _FORM)}
        names = sorted((pictures & sounds) - test)
        if not names:
            raise DataError(
                f"Release 'full' of {self.title} trains on every clip with a picture in 'frames' and sound in 'audio' "
                f"under root {self.root.place!r}; {len(pictures)} have a picture, {len(sounds)} sound, and none "
                "both but those of the test. Put them there, or take release '144k' or '10k'."
            )
        return [self.pair(safe_id(name, "frames"), "frames") for name in names]

    def _names_in(self, folder: str, endings: tuple[str, ...]) -> set[str]:
        """Names of the files of a folder that have one of some endings."""
        path = self.root.find(folder)
        if path is None:
            return set()
        files = map(Path, list_names(path))
        return {file.stem for file in files if file.suffix in endings}

    def _parse_record(self, record: JsonRecord) -> Annotation:
        name = safe_id(record.text("file"), record.where)
        try:
            corners = np.array(record.items("bbox"), np.float64).reshape(-1, 4).clip(0, 1)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{record.where}, field 'bbox': {error}. {_FORM}.") from error
        if not np.isfinite(corners).all():
            raise DataError(f"{record.where}, field 'bbox': a corner is no finite number. {_FORM}.")
        has_area = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
        boxes = [BoxAnnotation(step=0, box=box) for box in corners[has_area].tolist()]
        return self.pair(name, record.where, boxes=boxes)
