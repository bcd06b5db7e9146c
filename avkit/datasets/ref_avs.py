# SPDX-License-Identifier: Apache-2.0
"""Ref-AVS: the mask of the thing that a sentence speaks of, by what is seen and heard."""

from collections import Counter

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Line, texts
from avkit.datasets.folder import Places
from avkit.datasets.official import Official
from avkit.datasets.tables import read_rows, safe_id
from avkit.errors import DataError
from avkit.text.tokenizer import unique_words

SECONDS = 10


class RefAVS(Official):
    """Ref-AVS: 20,459 sentences about 3,574 clips of 10 s.

    Splits: train 14,113, val 1,349, test_s (objects seen in training) 2,288, test_u (unseen) 1,656, test_n (nothing is
    meant, masks are empty) 1,028; `test` is the three together. Rows with the split `TODO` are in none. A sample is a
    sentence, its clip's folder named by `uid`; the eleven repeated ids are made unique.

    Source:
        Wang et al., Ref-AVS: Refer and Segment Objects in Audio-Visual Scenes, ECCV 2024; GeWu-Lab/Ref-AVS.
    """

    name = "ref-avs"
    title = "Ref-AVS"
    source = "metadata.csv and the folders media and gt_mask from GeWu-Lab/Ref-AVS"
    marks = ("gt_mask", "media")
    splits = ("train", "val", "test", "test_s", "test_u", "test_n")
    counts = {  # noqa: RUF012
        "official": {"train": 14_113, "val": 1349, "test": 4972, "test_s": 2288, "test_u": 1656, "test_n": 1028}
    }
    fixed = SECONDS
    places = Places(
        frames=("media/{media}/frames/{k}.jpg",),
        sound=("media/{media}/audio.wav",),
        masks=("gt_mask/{media}/fid_{fid}/{k:05d}.png",),
        first=0,
    )

    def words(self, split: str) -> Vocabulary:
        """Words of the train sentences."""
        return Vocabulary(words=unique_words(texts(self.read("train"))))

    def read(self, split: str) -> list[Line]:
        """Sentences of a split in the order of the table."""
        path = self.file("metadata.csv")
        wanted = ("test_s", "test_u", "test_n") if split == "test" else (split,)
        seen: Counter[str] = Counter()
        lines = []
        for k, row in enumerate(read_rows(path, ["vid", "uid", "split", "fid", "exp"])):
            where = f"{path}, row {k + 1}"
            if row["split"] not in (*self.splits, "TODO"):
                raise DataError(f"{where}: {row['split']!r} is no split; there are {', '.join(self.splits)} and TODO.")
            parts = row["uid"].split("_")
            if len(parts) < 3:
                raise DataError(f"{where}: uid {row['uid']!r} is not a clip, an object and a number joined by '_'.")
            if row["split"] not in wanted:
                continue
            seen[row["uid"]] += 1
            identity = row["uid"] if seen[row["uid"]] == 1 else f"{row['uid']}#{seen[row['uid']]}"
            # the loader takes the folder from the uid: those of rows that mean nothing differ from the vid
            media = safe_id("_".join(parts[:-2]), where)
            fid = safe_id(row["fid"], where)
            names, steps = {"fid": fid}, list(range(SECONDS))
            lines.append(self.line(where, id=identity, media=media, names=names, masked=steps, text=row["exp"].strip()))
        return lines
