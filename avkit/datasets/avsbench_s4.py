# SPDX-License-Identifier: Apache-2.0
"""AVSBench S4: pixel masks of the single object that sounds."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Annotation
from avkit.datasets.folder import MediaPatterns
from avkit.datasets.official import Official
from avkit.datasets.pickles import LogMelFiles
from avkit.datasets.released import FeatureModality
from avkit.datasets.tables import check_unique, read_rows, safe_id
from avkit.errors import DataError, unknown_name
from avkit.features.base import Features

#: Categories, each with the name that AVSBench-semantic gives the object.
CATEGORIES = {
    "ambulance_siren": "emergency-car", "baby_laughter": "baby", "cap_gun_shooting": "gun", "cat_meowing": "cat",
    "chainsawing_trees": "saw", "coyote_howling": "wolf", "dog_barking": "dog", "driving_buses": "bus",
    "female_singing": "woman", "helicopter": "helicopter", "horse_clip-clop": "horse", "lawn_mowing": "mower",
    "lions_roaring": "lion", "male_speech": "man", "mynah_bird_singing": "bird", "playing_acoustic_guitar": "guitar",
    "playing_glockenspiel": "marimba", "playing_piano": "piano", "playing_tabla": "tabla", "playing_ukulele": "ukulele",
    "playing_violin": "violin", "race_car": "car", "typing_on_computer_keyboard": "keyboard",
}  # fmt: skip

#: Seconds of a clip.
SECONDS = 5


class ObjectMasks(Official):
    """What S4 and MS3 share: five seconds, a picture at the end of each, binary masks, sound as wav or log-mel.

    The picture of second k is its last of 16 samples, so a video is read at 15/16 of each second.
    """

    fixed_steps = SECONDS
    frame_offset = 15 / 16
    #: Pattern of the log-mel pickles.
    log_mel_pattern: ClassVar[str]

    @abstractmethod
    def read_annotations(self, split: str) -> list[Annotation]:
        """Clips of a split in the order of the table."""

    def read_vocabulary(self) -> Vocabulary:
        """No classes: masks are binary."""
        return Vocabulary()

    def open_features(self, name: str, modality: FeatureModality) -> Features:
        """As for all, and `log_mel`."""
        if name != "log_mel" or modality != "audio":
            return super().open_features(name, modality)
        files = {}
        for annotation in self.all_annotations:
            path = self.log_mel_pattern.format_map({"media": annotation.media, **annotation.placeholders})
            if self.root.has(path):
                files[annotation.id] = path
        return LogMelFiles(self.root.path, files)

    def check_split(self, split: str, where: str) -> str:
        """The split of a row."""
        if split not in self.splits:
            raise DataError(f"{where}: {unknown_name('split', split, self.splits)}")
        return split


@dataclass(frozen=True)
class _Row:
    """A row of the table of S4."""

    media: str
    category: str
    split: str
    where: str


class AVSBenchS4(ObjectMasks):
    """AVSBench S4 (single source): 4,932 clips of 5 s, 23 categories.

    Splits: train 3,452 with a mask of the first second alone, val 740 and test 740 with one of every second. Any value
    of a mask above 0 sounds. Without `s4_meta_data.csv` the split is taken from AVSBench-semantic's `metadata.csv`.

    Source:
        Zhou et al., Audio-Visual Segmentation, ECCV 2022; loader of OpenNLPLab/AVSBench.
    """

    name = "avsbench-s4"
    title = "AVSBench S4"
    source = "AVSBench-object from the form of OpenNLPLab/AVSBench: s4_meta_data.csv and the folder s4_data"
    how_to_get = (
        "Its authors give it on request: fill in the form that the readme of OpenNLPLab/AVSBench links, ask for "
        "AVSBench-object, and unpack s4_meta_data.csv and s4_data. Ask them whether masks may be passed on, and "
        "commercial use is allowed: the repository's Apache-2.0 does not speak for the videos."
    )
    marker_files = ("s4_meta_data.csv", "Single-source/s4_meta_data.csv")
    counts = {"official": {"train": 3452, "val": 740, "test": 740}}  # noqa: RUF012
    log_mel_pattern = "s4_data/audio_log_mel/{split}/{category}/{media}.pkl"
    patterns = MediaPatterns(
        frames=("s4_data/visual_frames/{split}/{category}/{media}/{media}_{k}.png",),
        video=("s4_data/raw_videos/{split}/{category}/{media}.mp4",),
        audio=("s4_data/audio_wav/{split}/{category}/{media}.wav",),
        masks=("s4_data/gt_masks/{split}/{category}/{media}/{media}_{k}.png",),
    )

    def read_annotations(self, split: str) -> list[Annotation]:
        """Clips of a split in the order of the table."""
        rows = [row for row in self._read_table() if row.split == split]
        check_unique([row.media for row in rows], f"{self.title}, {split}")
        annotations = []
        for row in rows:
            annotation = Annotation(
                id=row.media,
                where=row.where,
                root=self.root.path,
                placeholders={"split": split, "category": row.category},
                mask_steps=[0] if split == "train" else list(range(SECONDS)),
            )
            annotations.append(annotation)
        return annotations

    def _read_table(self) -> list[_Row]:
        has_own = self.root.find(*self.marker_files) is not None
        if not has_own and self.root.find("metadata.csv") is not None:
            return self._read_semantic_table()
        path = self.annotation_file(*self.marker_files)
        rows = []
        for k, record in enumerate(read_rows(path, ["split"])):
            where = f"{path}, row {k + 1}"
            cells = [cell.strip() for cell in record.values()]  # the official loader reads columns by their place
            category = cells[2] if len(cells) > 2 else ""
            if len(cells) < 4 or category not in CATEGORIES:
                raise DataError(f"{where}: {unknown_name('category in the third column', category, CATEGORIES)}")
            split = self.check_split(record["split"].strip(), where)
            rows.append(_Row(safe_id(cells[0], where), category, split, where))
        return rows

    def _read_semantic_table(self) -> list[_Row]:
        """The same rows from the table of AVSBench-semantic, whose part `v1s` is S4."""
        path = self.annotation_file("metadata.csv")
        category_of = {thing: category for category, thing in CATEGORIES.items()}
        rows = []
        for k, record in enumerate(read_rows(path, ["vid", "a_obj", "split", "label"])):
            if record["label"] != "v1s":
                continue
            where = f"{path}, row {k + 1}"
            thing = record["a_obj"].replace(" ", "")
            if thing not in category_of:
                raise DataError(f"{where}: {unknown_name('object of S4', thing, category_of)}")
            split = self.check_split(record["split"], where)
            rows.append(_Row(safe_id(record["vid"], where), category_of[thing], split, where))
        return rows
