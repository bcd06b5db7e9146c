# SPDX-License-Identifier: Apache-2.0
"""UnAV-100: all audible and visible events in untrimmed videos of up to a minute."""

import math
from dataclasses import replace
from functools import cached_property

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Annotation, EventAnnotation
from avkit.datasets.folder import MediaPatterns
from avkit.datasets.grid import Grid
from avkit.datasets.json_records import JsonRecord, as_number
from avkit.datasets.official import Official
from avkit.datasets.released import ReleasedFeatures
from avkit.datasets.tables import safe_id
from avkit.errors import DataError, unknown_name
from avkit.features.base import FeatureFacts
from avkit.reading.text import read_json

#: The official names of splits.
_SUBSETS = {"train": "train", "val": "validation", "test": "test"}
#: Where the features are.
_PUBLISHED = "linked in the readme of ttgeng233/UnAV"
_PUBLISHED_ONE_PEACE = "see the readme of ttgeng233/UniAV"
#: What a record has.
_FORM = "A video has duration, subset and annotations of segment, label and label_id"
#: I3D sees 24 pictures at 25 per second, every 8; VGGish hears 0.96 s every 0.32 s.
_UNAV = FeatureFacts("", 8 / 25, 24 / 25, 25.0)
#: ONE-PEACE sees 16 pictures at 16 per second, every 4; it hears 1 s every 0.25 s.
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
    how_to_get = (
        "Features and videos are linked in the readme of ttgeng233/UnAV. Ask the authors before you pass videos on: "
        "they are of YouTube."
    )
    marker_files = ("unav100_annotations.json", "annotations/unav100_annotations.json", "unav100_all.json")
    counts = {"official": {"train": 6489, "val": 2134, "test": 2167}}  # noqa: RUF012
    fixed_steps = None
    untrimmed = True
    patterns = MediaPatterns(video=("raw_videos/{media}.mp4", "videos/{media}.mp4", "video/{media}.mp4", "{media}.mp4"))
    released = {  # noqa: RUF012
        "rgb": ReleasedFeatures(
            "av_features/{media}_rgb.npy",
            (None, 1024),
            replace(_UNAV, encoder="i3d_rgb"),
            "visual",
            _PUBLISHED,
            "i3d_raft",
        ),
        "flow": ReleasedFeatures(
            "av_features/{media}_flow.npy",
            (None, 1024),
            replace(_UNAV, encoder="i3d_flow"),
            "visual",
            _PUBLISHED,
            "i3d_raft",
        ),
        "vggish": ReleasedFeatures(
            "av_features/{media}_vggish.npy",
            (None, 128),
            replace(_UNAV, encoder="vggish"),
            "audio",
            _PUBLISHED,
            "vggish_032",
        ),
        "one_peace_video": ReleasedFeatures(
            "av_features/{media}_one_peace_video_finetune.npy",
            (None, 1536),
            replace(_ONE_PEACE, encoder="one_peace_video"),
            "visual",
            _PUBLISHED_ONE_PEACE,
            "one_peace",
        ),
        "one_peace_audio": ReleasedFeatures(
            "av_features/{media}_one_peace_audio.npy",
            (None, 1536),
            replace(_ONE_PEACE, encoder="one_peace_audio"),
            "audio",
            _PUBLISHED_ONE_PEACE,
            "one_peace",
        ),
    }

    def read_annotations(self, split: str) -> list[Annotation]:
        """Videos of a split in the order of the file."""
        videos, _ = self._database
        return videos[_SUBSETS[split]]

    def read_vocabulary(self) -> Vocabulary:
        """The classes by their official numbers."""
        _, classes = self._database
        return Vocabulary(classes=classes)

    def target_grid(self, annotation: Annotation) -> Grid:
        """Steps that cover the whole video, so that the true events are the official ones, which nothing cuts.

        So are those of features, whose windows reach over the end; videos that are read at whole seconds lose what is
        behind the last one.
        """
        hop = self.options.hop
        duration = annotation.duration or hop
        return Grid(math.ceil(duration / hop), hop, duration)

    @cached_property
    def _database(self) -> tuple[dict[str, list[Annotation]], list[str]]:
        """The videos of each official subset, and the names of classes in index order."""
        path = self.annotation_file(*self.marker_files)
        content = JsonRecord(read_json(path), str(path), "Take the file as its authors publish it")
        if not isinstance(content.values.get("database"), dict):
            raise DataError(f"{path} has no 'database' of videos. {content.form}.")
        videos: dict[str, list[Annotation]] = {subset: [] for subset in _SUBSETS.values()}
        names: dict[int, str] = {}
        for video, values in content.values["database"].items():
            record = JsonRecord(values, f"{path}, video {video!r}", _FORM)
            videos[self._subset(record)].append(self._parse_video(video, record, names))
        if sorted(names) != list(range(len(names))):
            raise DataError(
                f"{path}: numbers of classes are {sorted(names)[:5]} ... and leave out some. Take it whole."
            )
        return videos, [names[k] for k in range(len(names))]

    def _subset(self, record: JsonRecord) -> str:
        subset = record.text("subset")
        if subset not in _SUBSETS.values():
            raise DataError(f"{record.where}: {unknown_name('subset', subset, _SUBSETS.values())}")
        return subset

    def _parse_video(self, name: str, record: JsonRecord, names: dict[int, str]) -> Annotation:
        """A video; class names are added to `names` by their numbers."""
        where = record.where
        duration = record.number("duration")
        events = []
        for k, values in enumerate(record.items("annotations")):
            entry = JsonRecord(values, f"{where}, annotation {k}", _FORM)
            number = entry.whole("label_id")
            event = _parse_event(entry)
            if not 0 <= event.start < event.end <= duration + 0.01:
                raise DataError(
                    f"{where}: an event lasts from {event.start:g} to {event.end:g} s; the video lasts {duration:g} s."
                )
            if names.setdefault(number, event.label) != event.label:
                raise DataError(f"{where}: class {number} is {event.label!r} here and {names[number]!r} before.")
            events.append(event)
        return Annotation(id=safe_id(name, where), where=where, root=self.root.path, duration=duration, events=events)


def _parse_event(entry: JsonRecord) -> EventAnnotation:
    times = [as_number(value) for value in entry.items("segment")]
    if len(times) != 2 or times[0] is None or times[1] is None:
        raise DataError(f"{entry.where}, field 'segment': {times} are not a start and an end in seconds.")
    return EventAnnotation(start=times[0], end=times[1], label=entry.text("label"))
