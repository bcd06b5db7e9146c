# SPDX-License-Identifier: Apache-2.0
"""AVE: one event per ten-second clip, both heard and seen, in whole seconds."""

from functools import cached_property
from itertools import combinations

import numpy as np

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Line
from avkit.datasets.folder import Places
from avkit.datasets.official import Official, Released
from avkit.datasets.tables import number, read_array, read_text, safe_id
from avkit.errors import DataError, unknown_name
from avkit.features.base import FeatureFacts, Features
from avkit.features.combined import ChainedFeatures
from avkit.features.files import RowFile

#: In index order, that of first appearance in the annotation file; background is none of them.
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


class AVE(Official):
    """AVE: 4,143 annotations of 4,097 videos of 10 s, 28 classes.

    Splits: train 3,339, val 402, test 402. A sample is a row of the annotation file, known by its number, since 45
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
    marks = ("Annotations.txt", "train_order.h5", "trainSet.txt")
    releases = ("official", "weak")
    counts = {  # noqa: RUF012
        "official": {"train": 3339, "val": 402, "test": 402},
        "weak": {"train": 3339 + NOISY, "val": 402, "test": 402},
    }
    places = Places(
        frames=("video_frames/{media}", "frames/{media}"),
        video=("AVE/{media}.mp4", "video/{media}.mp4", "videos/{media}.mp4", "raw_videos/{media}.mp4", "{media}.mp4"),
        sound=("raw_audio/{media}.wav", "audio/{media}.wav"),
    )
    released = {  # noqa: RUF012
        "vgg19": Released("visual_feature.h5", (10, 7, 7, 512), FeatureFacts("vgg19", 1.0, 1.0), sees=True),
        "vggish": Released("audio_feature.h5", (10, 128), FeatureFacts("vggish", 1.0, 1.0)),
    }

    def words(self, split: str) -> Vocabulary:
        """The 28 classes."""
        return Vocabulary(classes=CLASSES)

    def read(self, split: str) -> list[Line]:
        """The rows of a split, in the order of its list."""
        every = self._annotations
        lines = [every[k] for k in self._order(split)]
        if split == "train" and self.release == "weak":
            where = "AVE, background clip"
            noisy = [self.line(f"{where} {k}", id=f"noisy#{k}", events=[], labels=[]) for k in range(NOISY)]
            lines += noisy
        return lines

    def rows(self) -> list[str]:
        """Ids of all annotations."""
        return [line.data["id"] for line in self._annotations]

    def named_features(self, given: str, sees: bool) -> Features:
        """As for all; in the weak setting with those of the background clips."""
        found = super().named_features(given, sees)
        if self.release == "weak" and self.split == "train" and isinstance(found, RowFile):
            aside = found.path.with_name(f"{found.path.stem}_noisy{found.path.suffix}")
            return ChainedFeatures([found, RowFile(aside, [f"noisy#{k}" for k in range(NOISY)], facts=found.facts)])
        return found

    @cached_property
    def _annotations(self) -> list[Line]:
        """All rows of the annotation file; its first line may be a header."""
        path = self.file("Annotations.txt")
        rows = [row for row in read_text(path).split("\n") if row.strip()]
        if rows and rows[0].startswith("Category&"):
            rows = rows[1:]
        return [self._row(k, row, f"{path}, annotation {k}") for k, row in enumerate(rows)]

    def _row(self, k: int, row: str, where: str) -> Line:
        cells = [cell.strip() for cell in row.split("&")]
        if len(cells) != 5:
            raise DataError(
                f"{where}: {len(cells)} fields instead of 5 separated by '&' (category, video id, quality, start, "
                f"end): {row[:80]!r}. Take the file as its authors publish it."
            )
        label, video, _, first, last = cells
        if label not in CLASSES:
            raise DataError(f"{where}: {unknown_name('class of AVE', label, CLASSES)}")
        start, end = number(first, where), number(last, where)
        if not 0 <= start <= end <= SECONDS:
            raise DataError(f"{where}: the event lasts from {start:g} to {end:g} s; a clip lasts {SECONDS} s.")
        events = [{"start": start, "end": end, "label": label}] if start < end else []
        media = safe_id(video, where)
        return self.line(where, id=f"{media}#{k}", media=media, events=events, labels=[label])

    def _order(self, split: str) -> list[int]:
        """Row numbers of a split: of its HDF5 list, or of its text list."""
        if self.root.find(f"{split}_order.h5") is not None:
            return self._orders()[split]
        path = self.file(f"{split}_order.h5", f"{split}Set.txt")
        listed = [row.strip() for row in read_text(path).split("\n") if row.strip()]
        listed = listed[1:] if listed and listed[0].startswith("Category&") else listed
        known = {self._key(line): k for k, line in enumerate(self._annotations)}
        out = []
        for k, row in enumerate(listed):
            line = self._row(k, row, f"{path}, row {k}")
            if self._key(line) not in known:
                raise DataError(f"{path}, row {k}: {row!r} is not in Annotations.txt. Take both from one source.")
            out.append(known[self._key(line)])
        return out

    @staticmethod
    def _key(line: Line) -> tuple[object, ...]:
        data = line.data
        return data["media"], data["labels"][0], *((e["start"], e["end"]) for e in data["events"])

    def _orders(self) -> dict[str, list[int]]:
        """The lists of all splits that are there, which must not overlap."""
        total, orders = len(self._annotations), {}
        for split in self.splits:
            path = self.root.find(f"{split}_order.h5")
            if path is None:
                continue
            order = read_array(path, "order")
            if order.ndim != 1 or not np.issubdtype(order.dtype, np.integer) or len(np.unique(order)) < len(order):
                raise DataError(f"{path}: 'order' is no list of different row numbers. Download it again.")
            if len(order) and not 0 <= order.min() <= order.max() < total:
                raise DataError(
                    f"{path} names row {order.max()}, and Annotations.txt has {total} rows. Take both from one source."
                )
            orders[split] = order.tolist()
        for a, b in combinations(orders, 2):
            if common := set(orders[a]) & set(orders[b]):
                raise DataError(
                    f"{a}_order.h5 and {b}_order.h5 share {len(common)} rows. One of them is of another split, such as "
                    "*_order_match.h5, which is for cross-modality matching. Take all three from one source."
                )
        return orders
