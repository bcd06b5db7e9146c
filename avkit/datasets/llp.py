# SPDX-License-Identifier: Apache-2.0
"""LLP: which events are heard and which are seen in each second, learnt from labels of the clip."""

from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import Any

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Line
from avkit.datasets.folder import Places
from avkit.datasets.official import Official, Released
from avkit.datasets.tables import number, read_rows, safe_id, unique
from avkit.errors import DataError, unknown_name
from avkit.features.base import FeatureFacts

#: In index order.
CLASSES = [
    "Speech", "Car", "Cheering", "Dog", "Cat", "Frying_(food)", "Basketball_bounce", "Fire_alarm", "Chainsaw", "Cello",
    "Banjo", "Singing", "Chicken_rooster", "Violin_fiddle", "Vacuum_cleaner", "Baby_laughter", "Accordion",
    "Lawn_mower", "Motorcycle", "Helicopter", "Acoustic_guitar", "Telephone_bell_ringing", "Baby_cry_infant_cry",
    "Blender", "Clapping",
]  # fmt: skip

SECONDS = 10
#: Characters of a YouTube id, which may hold '_' and '-': names are cut here, never at the first '_'.
VIDEO_ID = 11

_FILES = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
_EVENTS = {"audio": "AVVP_eval_audio.csv", "visual": "AVVP_eval_visual.csv"}


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
        f"{', '.join(_FILES.values())} and {', '.join(_EVENTS.values())} from YapengTian/AVVP-ECCV20 (data/); "
        "videos of YouTube by their ids, features as its readme links"
    )
    marks = ("AVVP_train.csv", "AVVP_test_pd.csv", "AVVP_eval_audio.csv")
    releases = ("2024", "2020")
    counts = {  # noqa: RUF012
        "2024": {"train": 10_000, "val": 649, "test": 1200},
        "2020": {"train": 10_000, "val": 649, "test": 1200},
    }
    places = Places(
        frames=("frame/{media}", "LLP_dataset/frame/{media}", "data/LLP_dataset/frame/{media}"),
        video=tuple(
            f"{folder}{{{name}}}.mp4"
            for folder in ("video/", "LLP_dataset/video/", "data/LLP_dataset/video/", "videos/", "")
            for name in ("media", "name")
        ),
        sound=("audio/{media}.wav", "LLP_dataset/audio/{media}.wav", "data/LLP_dataset/audio/{media}.wav"),
    )
    released = {  # noqa: RUF012
        "res152": Released("feats/res152/{media}.npy", (80, 2048), FeatureFacts("resnet152", 0.125, 0, 8), sees=True),
        "r2plus1d_18": Released(
            "feats/r2plus1d_18/{media}.npy", (10, 512), FeatureFacts("r2plus1d_18", 1, 1), sees=True
        ),
        "vggish": Released("feats/vggish/{media}.npy", (10, 128), FeatureFacts("vggish", 1.0, 0.96)),
    }

    #: Rows of events that name no clip of val or test.
    orphans = 0

    def words(self, split: str) -> Vocabulary:
        """The 25 classes."""
        return Vocabulary(classes=CLASSES)

    def read(self, split: str) -> list[Line]:
        """Clips in the order of the split's table."""
        path = self.file(_FILES[split])
        rows = read_rows(path, ["filename", "event_labels"], "\t")
        names = [safe_id(row["filename"].strip(), f"{path}, row {k + 1}") for k, row in enumerate(rows)]
        unique(names, str(path))
        events = self._events if split != "train" else {}
        lines = []
        for k, (name, row) in enumerate(zip(names, rows, strict=True)):
            where = f"{path}, row {k + 1}"
            data: dict[str, Any] = {"id": name, "media": name[:VIDEO_ID], "names": {"name": name}}
            data["labels"] = [self._label(text, where) for text in row["event_labels"].split(",") if text.strip()]
            if split != "train":
                data["events"] = events.get(name, [])
            lines.append(self.line(where, **data))
        return lines

    @cached_property
    def _events(self) -> dict[str, list[dict[str, Any]]]:
        """Spans by clip, of both modalities."""
        clips: set[str] = set()
        for split in ("val", "test"):
            if (path := self.root.find(_FILES[split])) is not None:
                clips |= {row["filename"].strip() for row in read_rows(path, ["filename"], "\t")}
        out: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.orphans = 0
        for modality, file in _EVENTS.items():
            path = self.file(file)
            rows = read_rows(path, ["filename", "onset", "offset", "event_labels"], "\t")
            if modality == "audio":
                self._check_age(path, rows)
            for k, row in enumerate(rows):
                where = f"{path}, row {k + 1}"
                start, end = number(row["onset"], where), number(row["offset"], where)
                if max(start, end) > SECONDS or min(start, end) < 0:
                    raise DataError(f"{where}: the event lasts from {start:g} to {end:g} s; a clip lasts {SECONDS} s.")
                label = self._label(row["event_labels"], where)
                self.orphans += row["filename"] not in clips
                if start < end and row["filename"] in clips:
                    out[row["filename"]].append({"start": start, "end": end, "label": label, "modality": modality})
        return out

    def _check_age(self, path: Path, rows: list[dict[str, str]]) -> None:
        """Refuse the audio labels of another release; those from before 2024 have a class where a clip should be."""
        old = any(row["filename"] in CLASSES for row in rows)
        if old and self.release != "2020":
            raise DataError(
                f"{path} is from before 2024-04-16, when three of its rows were mended. Take the newer file from "
                "YapengTian/AVVP-ECCV20, or ask for release='2020' to use this one and say so."
            )
        if not old and self.release == "2020" and len(rows) == 4131:
            raise DataError(f"{path} is the file as mended on 2024-04-16, and release='2020' was asked for.")

    @staticmethod
    def _label(text: str, where: str) -> str:
        label = text.strip()
        if label not in CLASSES:
            raise DataError(f"{where}: {unknown_name('class of LLP', label, CLASSES)}")
        return label
