# SPDX-License-Identifier: Apache-2.0
"""VGG-SS: where in a picture the sound comes from; boxes for the test alone."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Line
from avkit.datasets.folder import Places
from avkit.datasets.official import Official
from avkit.datasets.tables import read_json, read_rows, read_text, safe_id, unique
from avkit.datasets.targets import Grid
from avkit.errors import DataError

#: Height and width of the map that the official metric reads.
SIDE = 224
#: Seconds of sound that go with a picture, and the second of a video at which it is taken (picture 125 at 25 fps).
SOUND, MOMENT = 3.0, 5.0


class SoundSource(Official):
    """What VGG-SS and Flickr-SoundNet share: one picture, the three seconds of sound in its midst, a map of the source.

    `val` is the test set, as in the official code of EZ-VSL, since there is no other; nothing is chosen honestly by it.
    """

    fixed = 1
    step = SOUND
    centred = True
    places = Places(
        frames=("frames/{media}.jpg", "frames/{media}.png"),
        video=("videos/{media}.mp4", "video/{media}.mp4", "{media}.mp4"),
        sound=("audio/{sound}.wav",),
    )

    def words(self, split: str) -> Vocabulary:
        """No classes: sources are found without names."""
        return Vocabulary()

    def locate(self, line: Line) -> str:
        """As `Official.locate`; of a video the part around the picture is read."""
        lack = super().locate(line)
        if not lack and "video" in line.data and "frames" not in line.data:
            line.data.update(start=MOMENT - SOUND / 2, end=MOMENT + SOUND / 2)
        return lack

    def training(self, *files: str) -> list[Line]:
        """Clips of a training list, one id per line; what follows a comma is left out."""
        path = self.file(*files)
        names = [row.split(",")[0].strip() for row in read_text(path).split("\n") if row.strip()]
        unique(names, str(path))
        return [
            self.pair(safe_id(name, f"{path}, line {k + 1}"), f"{path}, line {k + 1}") for k, name in enumerate(names)
        ]

    def pair(self, name: str, where: str, sound: str = "", **known: Any) -> Line:
        """A picture and its sound, or another clip's."""
        identity = f"{name}+{sound}" if sound and sound != name else name
        return self.line(where, id=identity, media=name, names={"sound": sound or name}, **known)

    def _boxes(self, line: Line, grid: Grid) -> dict[str, Any]:
        found = super()._boxes(line, grid)
        rows = np.array([entry["box"] for entry in line.data["boxes"]], np.float64).reshape(-1, 4)
        return {**found, "source": torch.from_numpy(self.source_map(rows))[None]}

    def source_map(self, boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        """The map (224, 224) that scores are made against, of boxes (N, 4) as shares of width and height."""
        raise NotImplementedError


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
    marks = ("vggss.json",)
    releases = ("144k", "10k", "full", "heard", "unheard", "silent")
    counts = {  # noqa: RUF012
        "144k": {"val": 5158, "test": 5158},
        "10k": {"train": 10_000, "val": 5158, "test": 5158},
        "heard": {"val": 2564, "test": 2564},
        "unheard": {"val": 2575, "test": 2575},
        "silent": {"val": 10_316, "test": 10_316},
    }

    def read(self, split: str) -> list[Line]:
        """Pictures of the test in the order of `vggss.json`, or clips of a training list."""
        if split == "train" and self.release == "full":
            return self._every()
        if split == "train":
            kind = "144k" if self.release == "silent" else "heard" if self.release == "unheard" else self.release
            names = [f"vggss_{kind}.txt", f"vggss_{kind}.csv", f"vggss_{kind}_train.csv", f"vggss_{kind}_train.txt"]
            return self.training(*names, f"ezvsl_vggss_{kind}.txt")
        path = self.file("vggss.json")
        lines = [self._record(record, f"{path}, record {k}") for k, record in enumerate(read_json(path))]
        unique([line.data["id"] for line in lines], str(path))
        if self.release in ("heard", "unheard"):
            kind = self.release
            chosen = self.training(f"vggss_{kind}_test.csv", f"ezvsl_vggss_{kind}_test.csv", f"vggss_{kind}.csv")
            known = {line.data["id"]: line for line in lines}
            if absent := [x.data["id"] for x in chosen if x.data["id"] not in known]:
                raise DataError(f"{len(absent)} clips of the list, such as {absent[0]!r}, are not in {path}.")
            return [known[x.data["id"]] for x in chosen]
        if self.release == "silent":
            aside = self.file("vggss_test_plus_silent.csv", "slavc_vggss_test_plus_silent.csv")
            for k, row in enumerate(read_rows(aside, ["video", "audio", "label"])):
                where = f"{aside}, row {k + 1}"
                if row["label"] == "non-sounding":
                    video, sound = safe_id(row["video"], where), safe_id(row["audio"], where)
                    line = self.pair(video, where, sound, boxes=[])
                    lines.append(line if video != sound else self.pair(video, where, boxes=[]))
            for k, line in enumerate(lines):
                line.data["id"] = line.data["id"] if k < len(lines) // 2 else f"{line.data['id']}#silent"
        return lines

    def _every(self) -> list[Line]:
        """All clips with a picture and sound in `frames` and `audio`, by name, but those of the test."""
        found = []
        for folder, endings in (("frames", (".jpg", ".png")), ("audio", (".wav",))):
            place = self.root.find(folder)
            files = place.iterdir() if place is not None and place.is_dir() else ()
            found.append({path.stem for path in files if path.suffix in endings})
        test = {str(record["file"]) for record in read_json(self.file("vggss.json"))}
        names = sorted(set.intersection(*found) - test)
        if not names:
            raise DataError(
                f"Release 'full' of {self.title} trains on every clip with a picture in 'frames' and sound in 'audio' "
                f"under root {str(self.root.path)!r}; {len(found[0])} have a picture, {len(found[1])} sound, and none "
                "both but those of the test. Put them there, or take release '144k' or '10k'."
            )
        return [self.pair(safe_id(name, "frames"), "frames") for name in names]

    def _record(self, record: Any, where: str) -> Line:
        try:
            name, boxes = safe_id(record["file"], where), np.array(record["bbox"], np.float64).reshape(-1, 4).clip(0, 1)
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(
                f"{where}: a record is {{'file', 'class', 'bbox': [[x1, y1, x2, y2], ...]}}, got {str(record)[:80]} "
                f"({error!r})."
            ) from error
        usable = boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
        return self.pair(name, where, boxes=[{"step": 0, "box": box} for box in usable.tolist()])

    def source_map(self, boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        """The union of the boxes."""
        out = np.zeros((SIDE, SIDE), np.float32)
        for x1, y1, x2, y2 in (boxes * SIDE).astype(int).tolist():
            out[y1:y2, x1:x2] = 1
        return out
