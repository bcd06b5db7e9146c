# SPDX-License-Identifier: Apache-2.0
"""LLP: which events are audible and which are visible in each second, learnt from labels of the clip."""

from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import Literal

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Annotation, EventAnnotation
from avkit.datasets.folder import MediaPatterns
from avkit.datasets.official import Official
from avkit.datasets.released import ReleasedFeatures
from avkit.datasets.tables import check_unique, parse_number, read_rows, safe_id
from avkit.errors import DataError, unknown_name
from avkit.features.base import FeatureFacts

#: Names of classes in index order.
CLASSES = [
    "Speech", "Car", "Cheering", "Dog", "Cat", "Frying_(food)", "Basketball_bounce", "Fire_alarm", "Chainsaw", "Cello",
    "Banjo", "Singing", "Chicken_rooster", "Violin_fiddle", "Vacuum_cleaner", "Baby_laughter", "Accordion",
    "Lawn_mower", "Motorcycle", "Helicopter", "Acoustic_guitar", "Telephone_bell_ringing", "Baby_cry_infant_cry",
    "Blender", "Clapping",
]  # fmt: skip

#: Seconds of a clip.
SECONDS = 10
#: Characters of a YouTube id, which may hold '_' and '-': names are cut here, never at the first '_'.
VIDEO_ID = 11

#: Where the features are.
_PUBLISHED = "linked in the readme of YapengTian/AVVP-ECCV20"
_FILES = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
_AUDIO_EVENTS = "AVVP_eval_audio.csv"
_VISUAL_EVENTS = "AVVP_eval_visual.csv"
#: Rows of the audio events as corrected on 2024-04-16.
_AUDIO_ROWS = 4131


class LLP(Official):
    """LLP: 11,849 clips of 10 s, 25 classes; train labels are of clips, val and test labels of seconds.

    Splits: train 10,000, val 649, test 1,200. Release `2024` has the audio labels as mended on 2024-04-16, `2020` as
    they were before; three rows differ. Rows that name no clip of val or test, and spans that are empty or reversed,
    are left out as the official code does; `orphans` counts the first.

    Source:
        Tian et al., Unified Multisensory Perception: Weakly-Supervised Audio-Visual Video Parsing, ECCV 2020; data of
        YapengTian/AVVP-ECCV20 at commit fde56118.
    """

    name = "llp"
    title = "LLP"
    source = (
        f"{', '.join(_FILES.values())} and {_AUDIO_EVENTS}, {_VISUAL_EVENTS} from YapengTian/AVVP-ECCV20 (data/); "
        "videos of YouTube by their ids, features as its readme links"
    )
    how_to_get = (
        "Videos are on YouTube under the ids of the files; features are linked in the readme of YapengTian/AVVP- "
        "ECCV20. GPL-3.0 stands in that readme alone, and its link leads to another project: ask the authors before "
        "you pass annotations or features on."
    )
    marker_files = ("AVVP_train.csv", "AVVP_test_pd.csv", "AVVP_eval_audio.csv")
    releases = ("2024", "2020")
    counts = {  # noqa: RUF012
        "2024": {"train": 10_000, "val": 649, "test": 1200},
        "2020": {"train": 10_000, "val": 649, "test": 1200},
    }
    patterns = MediaPatterns(
        frames=("frame/{media}", "LLP_dataset/frame/{media}", "data/LLP_dataset/frame/{media}"),
        video=(
            "video/{media}.mp4",
            "video/{name}.mp4",
            "LLP_dataset/video/{media}.mp4",
            "LLP_dataset/video/{name}.mp4",
            "data/LLP_dataset/video/{media}.mp4",
            "data/LLP_dataset/video/{name}.mp4",
            "videos/{media}.mp4",
            "videos/{name}.mp4",
            "{media}.mp4",
            "{name}.mp4",
        ),
        audio=("audio/{media}.wav", "LLP_dataset/audio/{media}.wav", "data/LLP_dataset/audio/{media}.wav"),
    )
    released = {  # noqa: RUF012
        "res152": ReleasedFeatures(
            "feats/res152/{media}.npy", (80, 2048), FeatureFacts("resnet152", 0.125, 0, 8), "visual", _PUBLISHED, "llp"
        ),
        "r2plus1d_18": ReleasedFeatures(
            "feats/r2plus1d_18/{media}.npy", (10, 512), FeatureFacts("r2plus1d_18", 1, 1), "visual", _PUBLISHED, "llp"
        ),
        "vggish": ReleasedFeatures(
            "feats/vggish/{media}.npy", (10, 128), FeatureFacts("vggish", 1.0, 0.96), "audio", _PUBLISHED, "llp"
        ),
    }

    #: Rows of events that name no clip of val or test.
    orphans = 0

    def read_annotations(self, split: str) -> list[Annotation]:
        """Clips in the order of the split's table."""
        path = self.annotation_file(_FILES[split])
        rows = read_rows(path, ["filename", "event_labels"], "\t")
        names = [safe_id(row["filename"].strip(), f"{path}, row {k}") for k, row in enumerate(rows, 1)]
        check_unique(names, str(path))
        annotations = []
        for k, (name, row) in enumerate(zip(names, rows, strict=True), 1):
            where = f"{path}, row {k}"
            annotation = Annotation(
                id=name,
                where=where,
                root=self.root.path,
                media=name[:VIDEO_ID],
                placeholders={"name": name},
                labels=_parse_labels(row["event_labels"], where),
                events=None if split == "train" else self._events.get(name, []),
            )
            annotations.append(annotation)
        return annotations

    def read_vocabulary(self) -> Vocabulary:
        """The 25 classes."""
        return Vocabulary(classes=CLASSES)

    @cached_property
    def _events(self) -> dict[str, list[EventAnnotation]]:
        """Events of both modalities by clip."""
        clips = self._evaluated_clips()
        events: dict[str, list[EventAnnotation]] = defaultdict(list)
        self.orphans = 0
        for modality, row, where in self._event_rows():
            event = _parse_event(modality, row, where)
            if row["filename"] not in clips:
                self.orphans += 1
            elif event.start < event.end:
                events[row["filename"]].append(event)
        return events

    def _evaluated_clips(self) -> set[str]:
        """Clips of val and test, as far as their tables are on disk."""
        clips: set[str] = set()
        for split in ("val", "test"):
            path = self.root.find(_FILES[split])
            if path is not None:
                clips |= {row["filename"].strip() for row in read_rows(path, ["filename"], "\t")}
        return clips

    def _event_rows(self) -> list[tuple[Literal["audio", "visual"], dict[str, str], str]]:
        """Modality, row and place of all events: first the audible ones, then the visible ones."""
        columns = ["filename", "onset", "offset", "event_labels"]
        audio_path = self.annotation_file(_AUDIO_EVENTS)
        audio_rows = read_rows(audio_path, columns, "\t")
        self._check_age(audio_path, audio_rows)
        visual_path = self.annotation_file(_VISUAL_EVENTS)
        visual_rows = read_rows(visual_path, columns, "\t")
        rows: list[tuple[Literal["audio", "visual"], dict[str, str], str]] = []
        for k, row in enumerate(audio_rows, 1):
            rows.append(("audio", row, f"{audio_path}, row {k}"))
        for k, row in enumerate(visual_rows, 1):
            rows.append(("visual", row, f"{visual_path}, row {k}"))
        return rows

    def _check_age(self, path: Path, rows: list[dict[str, str]]) -> None:
        """Refuse the audio labels of another release; those from before 2024 have a class where a clip should be."""
        is_old = any(row["filename"] in CLASSES for row in rows)
        if is_old and self.release != "2020":
            raise DataError(
                f"{path} is from before 2024-04-16, when three of its rows were mended. Take the newer file from "
                "YapengTian/AVVP-ECCV20, or ask for release='2020' to use this one and say so."
            )
        if not is_old and self.release == "2020" and len(rows) == _AUDIO_ROWS:
            raise DataError(f"{path} is the file as mended on 2024-04-16, and release='2020' was asked for.")


def _parse_event(modality: Literal["audio", "visual"], row: dict[str, str], where: str) -> EventAnnotation:
    start = parse_number(row["onset"], where)
    end = parse_number(row["offset"], where)
    if max(start, end) > SECONDS or min(start, end) < 0:
        raise DataError(f"{where}: the event lasts from {start:g} to {end:g} s; a clip lasts {SECONDS} s.")
    return EventAnnotation(start=start, end=end, label=_parse_label(row["event_labels"], where), modality=modality)


def _parse_labels(text: str, where: str) -> list[str]:
    """Class names separated by commas."""
    return [_parse_label(label, where) for label in text.split(",") if label.strip()]


def _parse_label(text: str, where: str) -> str:
    label = text.strip()
    if label not in CLASSES:
        raise DataError(f"{where}: {unknown_name('class of LLP', label, CLASSES)}")
    return label
