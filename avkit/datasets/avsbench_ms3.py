# SPDX-License-Identifier: Apache-2.0
"""AVSBench MS3: one mask of all that sounds, where several objects may."""

from avkit.datasets.annotations import Annotation
from avkit.datasets.avsbench_s4 import SECONDS, ObjectMasks
from avkit.datasets.folder import MediaPatterns
from avkit.datasets.tables import check_unique, read_rows, safe_id


class AVSBenchMS3(ObjectMasks):
    """AVSBench MS3 (multiple sources): 424 clips of 5 s.

    Splits: train 296, val 64, test 64, with a mask of every second. Pictures lie without a folder of the split and have
    `.mp4` in their names, masks lie in one and have not. 56 of 219 videos have parts in more than one split.

    Source:
        Zhou et al., Audio-Visual Segmentation, ECCV 2022; loader of OpenNLPLab/AVSBench.
    """

    name = "avsbench-ms3"
    title = "AVSBench MS3"
    source = "AVSBench-object from the form of OpenNLPLab/AVSBench: ms3_meta_data.csv and the folder ms3_data"
    how_to_get = (
        "Its authors give it on request: fill in the form that the readme of OpenNLPLab/AVSBench links, ask for "
        "AVSBench-object, and unpack ms3_meta_data.csv and ms3_data. Ask them whether masks may be passed on, and "
        "commercial use is allowed: the repository's Apache-2.0 does not speak for the videos."
    )
    marker_files = ("ms3_meta_data.csv", "Multi-sources/ms3_meta_data.csv")
    counts = {"official": {"train": 296, "val": 64, "test": 64}}  # noqa: RUF012
    log_mel_pattern = "ms3_data/audio_log_mel/{split}/{media}.pkl"
    patterns = MediaPatterns(
        frames=("ms3_data/visual_frames/{media}/{media}.mp4_{k}.png",),
        video=("ms3_data/raw_videos/{media}.mp4",),
        audio=("ms3_data/audio_wav/{split}/{media}.wav",),
        masks=("ms3_data/gt_masks/{split}/{media}/{media}_{k}.png",),
    )

    def read_annotations(self, split: str) -> list[Annotation]:
        """Clips of a split in the order of the table, or of AVSBench-semantic's, whose part `v1m` is MS3."""
        annotations = []
        for name, row_split, where in self._read_table():
            if self.check_split(row_split.strip(), where) == split:
                annotation = Annotation(
                    id=safe_id(name.strip(), where),
                    where=where,
                    root=self.root.path,
                    placeholders={"split": split},
                    mask_steps=list(range(SECONDS)),
                )
                annotations.append(annotation)
        check_unique([annotation.id for annotation in annotations], f"{self.title}, {split}")
        return annotations

    def _read_table(self) -> list[tuple[str, str, str]]:
        """Name, split and place of each clip."""
        rows = []
        has_own = self.root.find(*self.marker_files) is not None
        if not has_own and self.root.find("metadata.csv") is not None:
            path = self.annotation_file("metadata.csv")
            for k, record in enumerate(read_rows(path, ["vid", "split", "label"])):
                if record["label"] == "v1m":
                    rows.append((record["vid"], record["split"], f"{path}, row {k + 1}"))
            return rows
        path = self.annotation_file(*self.marker_files)
        for k, record in enumerate(read_rows(path, ["split"])):
            name = next(iter(record.values()))  # the first column, whatever it is called
            rows.append((name, record["split"], f"{path}, row {k + 1}"))
        return rows
