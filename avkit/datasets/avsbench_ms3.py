# SPDX-License-Identifier: Apache-2.0
"""AVSBench MS3: one mask of all that sounds, where several things may."""

from avkit.datasets.annotations import Line
from avkit.datasets.avsbench_s4 import SECONDS, ObjectMasks
from avkit.datasets.folder import Places
from avkit.datasets.tables import read_rows, safe_id, unique


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
    marks = ("ms3_meta_data.csv", "Multi-sources/ms3_meta_data.csv")
    counts = {"official": {"train": 296, "val": 64, "test": 64}}  # noqa: RUF012
    log_mels = "ms3_data/audio_log_mel/{split}/{media}.pkl"
    places = Places(
        frames=("ms3_data/visual_frames/{media}/{media}.mp4_{k}.png",),
        video=("ms3_data/raw_videos/{media}.mp4",),
        sound=("ms3_data/audio_wav/{split}/{media}.wav",),
        masks=("ms3_data/gt_masks/{split}/{media}/{media}_{k}.png",),
    )

    def read(self, split: str) -> list[Line]:
        """Clips of a split in the order of the table, or of AVSBench-semantic's, whose part `v1m` is MS3."""
        path = self.root.find("ms3_meta_data.csv", "Multi-sources/ms3_meta_data.csv")
        semantic = path is None and self.root.find("metadata.csv") is not None
        path = path or self.file(*(("metadata.csv",) if semantic else self.marks))
        lines = []
        for k, row in enumerate(read_rows(path, ["vid", "split", "label"] if semantic else ["split"])):
            where = f"{path}, row {k + 1}"
            if semantic and row["label"] != "v1m":
                continue
            name = row["vid"] if semantic else next(iter(row.values()))
            if self.check_split(row["split"].strip(), where) == split:
                media = safe_id(name.strip(), where)
                lines.append(self.line(where, id=media, names={"split": split}, masked=list(range(SECONDS))))
        unique([line.data["id"] for line in lines], str(path))
        return lines
