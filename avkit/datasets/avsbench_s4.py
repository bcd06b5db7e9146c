# SPDX-License-Identifier: Apache-2.0
"""AVSBench S4: pixel masks of the one thing that sounds."""

from typing import Any

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Line
from avkit.datasets.folder import Places
from avkit.datasets.official import Official
from avkit.datasets.pickles import LogMelFiles
from avkit.datasets.tables import read_rows, safe_id, unique
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

SECONDS = 5


class ObjectMasks(Official):
    """What S4 and MS3 share: five seconds, a picture at the end of each, binary masks, sound as wav or log-mel.

    The picture of second k is its last of 16 samples, so a video is read at 15/16 of each second.
    """

    fixed = SECONDS
    moment = 15 / 16
    #: Pattern of the log-mel pickles.
    log_mels: str

    def words(self, split: str) -> Vocabulary:
        """No classes: masks are binary."""
        return Vocabulary()

    def named_features(self, given: str, sees: bool) -> Features:
        """As for all, and `log_mel`."""
        if given != "log_mel" or sees:
            return super().named_features(given, sees)
        paths = {
            line.data["id"]: self.log_mels.format_map({"media": line.media, **line.data["names"]})
            for line in self.listed
        }
        return LogMelFiles(self.root.path, {name: path for name, path in paths.items() if self.root.has(path)})

    def check_split(self, split: str, where: str) -> str:
        """The split of a row."""
        if split not in self.splits:
            raise DataError(f"{where}: {unknown_name('split', split, self.splits)}")
        return split


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
    marks = ("s4_meta_data.csv", "Single-source/s4_meta_data.csv")
    counts = {"official": {"train": 3452, "val": 740, "test": 740}}  # noqa: RUF012
    log_mels = "s4_data/audio_log_mel/{split}/{category}/{media}.pkl"
    places = Places(
        frames=("s4_data/visual_frames/{split}/{category}/{media}/{media}_{k}.png",),
        video=("s4_data/raw_videos/{split}/{category}/{media}.mp4",),
        sound=("s4_data/audio_wav/{split}/{category}/{media}.wav",),
        masks=("s4_data/gt_masks/{split}/{category}/{media}/{media}_{k}.png",),
    )

    def read(self, split: str) -> list[Line]:
        """Clips of a split in the order of the table."""
        rows = [row for row in self._table() if row["split"] == split]
        unique([row["media"] for row in rows], f"{self.title}, {split}")
        masked = [0] if split == "train" else list(range(SECONDS))
        return [
            self.line(
                row["where"],
                id=row["media"],
                names={"split": split, "category": row["category"]},
                masked=masked,
            )
            for row in rows
        ]

    def _table(self) -> list[dict[str, Any]]:
        if self.root.find("s4_meta_data.csv", "Single-source/s4_meta_data.csv") is None and self.root.find(
            "metadata.csv"
        ):
            return self._semantic()
        path = self.file("s4_meta_data.csv", "Single-source/s4_meta_data.csv")
        out = []
        for k, row in enumerate(read_rows(path, ["split"])):
            where, cells = f"{path}, row {k + 1}", [cell.strip() for cell in row.values()]  # the loader reads by place
            if len(cells) < 4 or cells[2] not in CATEGORIES:
                given = cells[2] if len(cells) > 2 else ""
                raise DataError(f"{where}: {unknown_name('category in the third column', given, CATEGORIES)}")
            split = self.check_split(row["split"].strip(), where)
            out.append({"media": safe_id(cells[0], where), "category": cells[2], "split": split, "where": where})
        return out

    def _semantic(self) -> list[dict[str, Any]]:
        """The same, rebuilt from the table of AVSBench-semantic, whose part `v1s` is S4."""
        path = self.file("metadata.csv")
        category = {thing: name for name, thing in CATEGORIES.items()}
        out = []
        for k, row in enumerate(read_rows(path, ["vid", "a_obj", "split", "label"])):
            if row["label"] == "v1s":
                where, thing = f"{path}, row {k + 1}", row["a_obj"].replace(" ", "")
                if thing not in category:
                    raise DataError(f"{where}: {unknown_name('object of S4', thing, category)}")
                split = self.check_split(row["split"], where)
                media = safe_id(row["vid"], where)
                out.append({"media": media, "category": category[thing], "split": split, "where": where})
        return out
