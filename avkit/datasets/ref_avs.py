# SPDX-License-Identifier: Apache-2.0
"""Ref-AVS: the mask of the object that a sentence refers to by its look and sound."""

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Annotation, annotation_texts
from avkit.datasets.folder import MediaPatterns
from avkit.datasets.official import Official
from avkit.datasets.tables import number_repeats, read_rows, safe_id
from avkit.errors import DataError
from avkit.text.tokenizer import unique_words

SECONDS = 10
#: The splits that `test` consists of.
_TEST_SPLITS = ("test_s", "test_u", "test_n")


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
    how_to_get = (
        "The folders media and gt_mask are linked in the readme of GeWu-Lab/Ref-AVS. Ask the authors before you pass "
        "masks on: videos are of YouTube."
    )
    marker_files = ("gt_mask", "media")
    splits = ("train", "val", "test", *_TEST_SPLITS)
    counts = {  # noqa: RUF012
        "official": {"train": 14_113, "val": 1349, "test": 4972, "test_s": 2288, "test_u": 1656, "test_n": 1028}
    }
    fixed_steps = SECONDS
    patterns = MediaPatterns(
        frames=("media/{media}/frames/{k}.jpg",),
        audio=("media/{media}/audio.wav",),
        masks=("gt_mask/{media}/fid_{fid}/{k:05d}.png",),
        first=0,
    )

    def read_annotations(self, split: str) -> list[Annotation]:
        """Sentences of a split in the order of the table."""
        path = self.annotation_file("metadata.csv")
        splits = _TEST_SPLITS if split == "test" else (split,)
        annotations = []
        for k, row in enumerate(read_rows(path, ["vid", "uid", "split", "fid", "exp"])):
            where = f"{path}, row {k + 1}"
            self._check_row(row, where)
            if row["split"] in splits:
                annotations.append(self._parse_row(row, where))
        ids = number_repeats([annotation.id for annotation in annotations])
        for annotation, name in zip(annotations, ids, strict=True):
            annotation.id = name
        return annotations

    def read_vocabulary(self) -> Vocabulary:
        """Words of the train sentences."""
        train = self.all_annotations if self.split == "train" else self.read_annotations("train")
        return Vocabulary(words=unique_words(annotation_texts(train)))

    def _check_row(self, row: dict[str, str], where: str) -> None:
        if row["split"] not in (*self.splits, "TODO"):
            raise DataError(f"{where}: {row['split']!r} is no split; there are {', '.join(self.splits)} and TODO.")
        if row["uid"].count("_") < 2:
            raise DataError(f"{where}: uid {row['uid']!r} is not a clip, an object and a number joined by '_'.")

    def _parse_row(self, row: dict[str, str], where: str) -> Annotation:
        return Annotation(
            id=row["uid"],
            where=where,
            root=self.root.path,
            # the loader takes the folder from the uid: those of rows that mean nothing differ from the vid
            media=safe_id(row["uid"].rsplit("_", 2)[0], where),
            placeholders={"fid": safe_id(row["fid"], where)},
            mask_steps=list(range(SECONDS)),
            text=row["exp"].strip(),
        )
