# SPDX-License-Identifier: Apache-2.0
"""UnAV-100: every event, heard and seen, in untrimmed videos of up to a minute."""

from dataclasses import replace
from functools import cached_property
from typing import Any

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Line
from avkit.datasets.folder import Places
from avkit.datasets.official import Official, Released
from avkit.datasets.tables import read_json, safe_id
from avkit.errors import DataError, unknown_name
from avkit.features.base import FeatureFacts

#: The official names of splits.
_SUBSETS = {"train": "train", "val": "validation", "test": "test"}
#: I3D features see 24 pictures at 25 per second, every 8; VGGish hears 0.96 s every 0.32 s.
_UNAV = FeatureFacts("", 8 / 25, 24 / 25, 25.0)
#: ONE-PEACE features see 16 pictures at 16 per second, every 4; they hear 1 s every 0.25 s.
_ONE_PEACE = FeatureFacts("", 0.25, 1.0, 16.0)


class UnAV100(Official):
    """UnAV-100: 10,790 videos of 10 to 60 s with 30,059 events of 100 classes.

    Splits: train 6,489, val (`validation`) 2,134, test 2,167. Features `rgb+flow` and `vggish` have a hop of 0.32 s,
    `one_peace_video` and `one_peace_audio` one of 0.25 s; picture and sound are cut to the shorter of the two. Raw
    videos are read at `hop` seconds, 1 by default.

    Source:
        Geng et al., Dense-Localizing Audio-Visual Events in Untrimmed Videos, CVPR 2023; ttgeng233/UnAV and UniAV.
    """

    name = "unav100"
    title = "UnAV-100"
    source = "unav100_annotations.json from ttgeng233/UnAV (data/unav100/annotations); features or videos as it links"
    marks = ("unav100_annotations.json", "annotations/unav100_annotations.json", "unav100_all.json")
    counts = {"official": {"train": 6489, "val": 2134, "test": 2167}}  # noqa: RUF012
    fixed = None
    places = Places(video=("raw_videos/{media}.mp4", "videos/{media}.mp4", "video/{media}.mp4", "{media}.mp4"))
    released = {  # noqa: RUF012
        "rgb": Released("av_features/{media}_rgb.npy", (None, 1024), replace(_UNAV, encoder="i3d_rgb"), sees=True),
        "flow": Released("av_features/{media}_flow.npy", (None, 1024), replace(_UNAV, encoder="i3d_flow"), sees=True),
        "vggish": Released("av_features/{media}_vggish.npy", (None, 128), replace(_UNAV, encoder="vggish")),
        "one_peace_video": Released(
            "av_features/{media}_one_peace_video_finetune.npy",
            (None, 1536),
            replace(_ONE_PEACE, encoder="one_peace_video"),
            sees=True,
        ),
        "one_peace_audio": Released(
            "av_features/{media}_one_peace_audio.npy", (None, 1536), replace(_ONE_PEACE, encoder="one_peace_audio")
        ),
    }

    def words(self, split: str) -> Vocabulary:
        """The classes by their official numbers."""
        return Vocabulary(classes=self._database[1])

    def read(self, split: str) -> list[Line]:
        """Videos of a split in the order of the file."""
        return [line for line in self._database[0] if line.data["subset"] == _SUBSETS[split]]

    @cached_property
    def _database(self) -> tuple[list[Line], list[str]]:
        """All videos, and names of classes."""
        path = self.file(*self.marks)
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("database"), dict):
            raise DataError(f"{path} has no 'database' of videos. Take the file as its authors publish it.")
        names: dict[int, str] = {}
        lines = [
            self._line(name, video, f"{path}, video {name!r}", names) for name, video in content["database"].items()
        ]
        if sorted(names) != list(range(len(names))):
            raise DataError(
                f"{path}: numbers of classes are {sorted(names)[:5]} ... and leave out some. Take it whole."
            )
        return lines, [names[k] for k in range(len(names))]

    def _line(self, name: str, video: Any, where: str, names: dict[int, str]) -> Line:
        try:
            subset, duration = video["subset"], float(video["duration"])
            rows = [(*map(float, a["segment"]), a["label"], int(a["label_id"])) for a in video["annotations"]]
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(
                f"{where}: a video has duration, subset and annotations of segment, label and label_id; {error!r}."
            ) from error
        if subset not in _SUBSETS.values():
            raise DataError(f"{where}: {unknown_name('subset', str(subset), _SUBSETS.values())}")
        events = []
        for start, end, label, number in rows:
            if not 0 <= start < end <= duration + 0.01:
                raise DataError(f"{where}: an event lasts from {start:g} to {end:g} s; the video lasts {duration:g} s.")
            if names.setdefault(number, label) != label:
                raise DataError(f"{where}: class {number} is {label!r} here and {names[number]!r} before.")
            events.append({"start": start, "end": end, "label": label})
        return self.line(where, id=safe_id(name, where), subset=subset, duration=duration, events=events)
