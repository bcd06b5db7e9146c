# SPDX-License-Identifier: Apache-2.0
"""AVE: one event per ten-second clip, both audible and visible, in whole seconds."""

from dataclasses import replace
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Annotation, EventAnnotation
from avkit.datasets.folder import MediaPatterns
from avkit.datasets.official import Official
from avkit.datasets.released import FeatureModality, ReleasedFeatures
from avkit.datasets.tables import parse_number, read_array, read_lines, safe_id
from avkit.errors import DataError, unknown_name
from avkit.features.base import FeatureFacts, Features
from avkit.features.combined import ChainedFeatures
from avkit.features.files import RowFile
from avkit.reading.remote import is_there

#: Names of classes in index order, that of their first appearance in the annotation file; without background.
CLASSES = [
    "Church bell", "Male speech, man speaking", "Bark", "Fixed-wing aircraft, airplane", "Race car, auto racing",
    "Female speech, woman speaking", "Helicopter", "Violin, fiddle", "Flute", "Ukulele", "Frying (food)", "Truck",
    "Shofar", "Motorcycle", "Acoustic guitar", "Train horn", "Clock", "Banjo", "Goat", "Baby cry, infant cry", "Bus",
    "Chainsaw", "Cat", "Horse", "Toilet flush", "Rodents, rats, mice", "Accordion", "Mandolin",
]  # fmt: skip

#: Seconds of a clip.
SECONDS = 10
#: Clips of pure background, of which only features were published; the weak setting trains on them too.
NOISY = 178
#: Where the features are.
_PUBLISHED = "linked in the readme of YapengTian/AVE-ECCV18"
_NOISY_PUBLISHED = (
    f"{_PUBLISHED}, for the setting with labels of clips: features of {NOISY} clips of background, of which there are "
    "no videos"
)
_NOISY_IDS = [f"noisy#{k}" for k in range(NOISY)]


class AVE(Official):
    """AVE: 4,143 annotations of 4,097 videos of 10 s, 28 classes.

    Splits: train 3,339, val 402, test 402. A sample is a row of the annotation file, identified by its number, since 45
    videos have several rows. Release `weak` trains on 178 clips of pure background too, which exist as features alone.

    Source:
        Tian et al., Audio-Visual Event Localization in Unconstrained Videos, ECCV 2018; data of YapengTian/AVE-ECCV18
        at commit 93f843fe.
    """

    name = "ave"
    title = "AVE"
    source = (
        "Annotations.txt and *_order.h5 (or trainSet.txt, valSet.txt, testSet.txt) from YapengTian/AVE-ECCV18; "
        "videos and features as its readme links"
    )
    how_to_get = (
        "Videos and features are linked in the readme of YapengTian/AVE-ECCV18. Its authors state no licence: ask them "
        "under which one annotations, features and videos may be used and passed on."
    )
    marker_files = ("Annotations.txt", "train_order.h5", "trainSet.txt")
    releases = ("official", "weak")
    counts = {  # noqa: RUF012
        "official": {"train": 3339, "val": 402, "test": 402},
        "weak": {"train": 3339 + NOISY, "val": 402, "test": 402},
    }
    patterns = MediaPatterns(
        frames=("video_frames/{media}", "frames/{media}"),
        video=("AVE/{media}.mp4", "video/{media}.mp4", "videos/{media}.mp4", "raw_videos/{media}.mp4", "{media}.mp4"),
        audio=("raw_audio/{media}.wav", "audio/{media}.wav"),
    )
    released = {  # noqa: RUF012
        "vgg19": ReleasedFeatures(
            "visual_feature.h5", (10, 7, 7, 512), FeatureFacts("vgg19", 1.0, 1.0), "visual", _PUBLISHED, "ave"
        ),
        "vggish": ReleasedFeatures(
            "audio_feature.h5",
            (10, 128),
            FeatureFacts("vggish", 1.0, 1.0),
            published=_PUBLISHED,
            recipe="vggish",
        ),
    }

    def read_annotations(self, split: str) -> list[Annotation]:
        """The rows of a split, in the order of its list."""
        rows = self._rows
        annotations = [rows[k] for k in self._row_numbers(split)]
        if self._has_noisy(split):
            for name in _NOISY_IDS:
                where = f"AVE, background clip {name.partition('#')[2]}"
                annotations.append(Annotation(id=name, where=where, root=self.root.path, events=[], labels=[]))
        return annotations

    def read_vocabulary(self) -> Vocabulary:
        """The 28 classes."""
        return Vocabulary(classes=CLASSES)

    def row_ids(self) -> list[str]:
        """Ids of all annotations."""
        return [annotation.id for annotation in self._rows]

    def open_features(self, name: str, modality: FeatureModality) -> Features:
        """As for all; in the weak setting with those of the background clips."""
        features = super().open_features(name, modality)
        if not self._has_noisy(self.split):
            return features
        if isinstance(features, RowFile):
            path = features.path.with_name(_noisy_name(features.path.name))
        else:  # a store has the clips of which there is media
            usual = next(usual for usual in self.released.values() if usual.modality == modality)
            if features.facts.encoder != usual.facts.encoder:
                return features
            path = self.root.find(_noisy_name(usual.pattern)) or self.root.path / _noisy_name(usual.pattern)
            if not is_there(path):
                raise DataError(f"{path} is missing. Get it from its authors, {_NOISY_PUBLISHED}.")
        return ChainedFeatures([features, RowFile(path, _NOISY_IDS, facts=features.facts)])

    @classmethod
    def released_files(cls, name: str, release: str | None) -> list[tuple[ReleasedFeatures, tuple[str, ...]]]:
        """As for all; in the weak setting with those of the background clips, for training."""
        files = super().released_files(name, release)
        if release == "weak":
            whole = cls.released[name]
            noisy = replace(whole, pattern=_noisy_name(whole.pattern), published=_NOISY_PUBLISHED, recipe="")
            files.append((noisy, ("train",)))
        return files

    def _has_noisy(self, split: str) -> bool:
        """Whether a split has the clips of pure background."""
        return self.release == "weak" and split == "train"

    @cached_property
    def _rows(self) -> list[Annotation]:
        """All rows of the annotation file; its first line may be a header."""
        path = self.annotation_file("Annotations.txt")
        return [self._parse_row(k, row, f"{path}, annotation {k}") for k, row in enumerate(_read_rows(path))]

    def _parse_row(self, k: int, row: str, where: str) -> Annotation:
        cells = [cell.strip() for cell in row.split("&")]
        if len(cells) != 5:
            raise DataError(
                f"{where}: {len(cells)} fields instead of 5 separated by '&' (category, video id, quality, start, "
                f"end): {row[:80]!r}. Take the file as its authors publish it."
            )
        label, video, _, start_text, end_text = cells
        if label not in CLASSES:
            raise DataError(f"{where}: {unknown_name('class of AVE', label, CLASSES)}")
        start = parse_number(start_text, where)
        end = parse_number(end_text, where)
        if not 0 <= start <= end <= SECONDS:
            raise DataError(f"{where}: the event lasts from {start:g} to {end:g} s; a clip lasts {SECONDS} s.")
        events = []
        if start < end:
            events.append(EventAnnotation(start=start, end=end, label=label))
        media = safe_id(video, where)
        return Annotation(
            id=f"{media}#{k}", where=where, root=self.root.path, media=media, events=events, labels=[label]
        )

    def _row_numbers(self, split: str) -> list[int]:
        """Row numbers of a split: of its HDF5 list, or of its text list."""
        if self.root.find(f"{split}_order.h5") is not None:
            return self._read_orders()[split]
        path = self.annotation_file(f"{split}_order.h5", f"{split}Set.txt")
        number_of_row = {_row_key(annotation): k for k, annotation in enumerate(self._rows)}
        numbers = []
        for k, row in enumerate(_read_rows(path)):
            key = _row_key(self._parse_row(k, row, f"{path}, row {k}"))
            if key not in number_of_row:
                raise DataError(f"{path}, row {k}: {row!r} is not in Annotations.txt. Take both from one source.")
            numbers.append(number_of_row[key])
        return numbers

    def _read_orders(self) -> dict[str, list[int]]:
        """The HDF5 lists of all splits that have one, which must not overlap."""
        orders = {}
        for split in self.splits:
            path = self.root.find(f"{split}_order.h5")
            if path is not None:
                orders[split] = _read_order(path, len(self._rows))
        for first, second in combinations(orders, 2):
            shared = set(orders[first]) & set(orders[second])
            if shared:
                raise DataError(
                    f"{first}_order.h5 and {second}_order.h5 share {len(shared)} rows. One of them is of another "
                    "split, such as *_order_match.h5, which is for cross-modality matching. Take all three from one "
                    "source."
                )
        return orders


def _noisy_name(name: str) -> str:
    """Name of the file with the background clips, by that of the others."""
    stem, _, ending = name.rpartition(".")
    return f"{stem}_noisy.{ending}"


def _read_rows(path: Path) -> list[str]:
    """Rows of a text file without its header, if it has one."""
    rows = read_lines(path)
    return rows[1:] if rows and rows[0].startswith("Category&") else rows


def _row_key(annotation: Annotation) -> tuple[object, ...]:
    """What tells the rows of the annotation file apart: video, class and times."""
    times = [(event.start, event.end) for event in annotation.events or ()]
    return annotation.media, *(annotation.labels or ()), *times


def _read_order(path: Path, total: int) -> list[int]:
    """The row numbers of an HDF5 list, for an annotation file of `total` rows."""
    order = read_array(path, "order")
    if order.ndim != 1 or not np.issubdtype(order.dtype, np.integer) or len(np.unique(order)) < len(order):
        raise DataError(f"{path}: 'order' is no list of different row numbers. Download it again.")
    if len(order) and not 0 <= order.min() <= order.max() < total:
        raise DataError(
            f"{path} names row {order.max()}, and Annotations.txt has {total} rows. Take both from one source."
        )
    numbers: list[int] = order.tolist()
    return numbers
