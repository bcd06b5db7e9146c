# SPDX-License-Identifier: Apache-2.0
"""The systems of questions, masks and sources on scenes, small and for minutes, beside AV-Unified's heads.

    avkit scenes export --layout music-avqa --out DIR --train 1200 --val 48 --test 384 --fps 1 --image_size 96
    python benchmarks/spatial.py --root DIR --together 2

Every row of a task sees as many batches of the same size, made by the same rule, and is a run under `--out`; those that
are there are left alone. Networks are narrower than published and train from scratch: those of masks and sources on
pictures and sound of the built-in scenes, those of questions on exported scenes and the features beside them. The rows
of TSPM differ in nothing but what is selected: that is what looking into the right seconds is worth.
"""

import argparse
from dataclasses import dataclass, field

from rows import Row, Words, main

#: By task: steps, options of the data, and the figures that are shown.
TASKS: dict[str, tuple[int, dict[str, object], list[str]]] = {
    "avs": (300, {"data.batch_size.trimmed": 8, "data.scenes.test_size": 128}, ["mIoU", "F"]),
    "ssl": (
        200,
        {"data.batch_size.trimmed": 8, "data.scenes.test_size": 128},
        ["cIoU@0.5", "AUC", "cIoU_adaptive", "pixel_AP"],
    ),
    "avqa": (
        2000,
        {"data.batch_size.whole": 32, "data.dataset": "music-avqa", "data.features.audio": "vggish"},
        ["Overall", "Audio Avg", "Visual Avg", "Audio-Visual Avg"],
    ),
}


@dataclass
class System(Row):
    """A system on a task.

    Attributes:
        system: Options of the system; AV-Unified where it names none.
        visual: Features of pictures that it reads, of questions alone.
        rate: Learning rate, for those that need another than the usual one.
    """

    system: dict[str, object] = field(default_factory=dict)
    visual: str = "tome14"
    rate: float | None = None


TSPM = {"name": "tspm", "frame": 768, "width": 128, "inner": 256, "topk": 3}
PSTP = {"name": "pstp", "first": True, "width": 128, "inner": 256, "segments": 5, "topk": 2, "topm": 12}
BOTH = "tome14+clip"
TRUNKS = {"image_size": 96, "seconds": 1.0}
ROWS = {
    "avs": System("AV-Unified, general head", "avs"),
    "avsegformer": System("AVSegFormer", "avs", {"name": "avsegformer"}),
    "tpavi": System("TPAVI", "avs", {"name": "tpavi"}),
    "tpavi_match": System("TPAVI, sound matched (MS3's loss)", "avs", {"name": "tpavi", "match": 0.5}),
    "ssl": System("AV-Unified, general head", "ssl"),
    "ez_vsl": System("EZ-VSL", "ssl", {"name": "ez_vsl", **TRUNKS}, rate=3e-4),
    "lvs": System("LVS", "ssl", {"name": "lvs", **TRUNKS}, rate=3e-4),
    "avqa": System("AV-Unified, general head", "avqa"),
    "tspm": System("TSPM, as published: pictures of the first seconds", "avqa", TSPM, BOTH),
    "tspm_index": System("TSPM, pictures of the chosen seconds", "avqa", {**TSPM, "patch_select": "index"}, BOTH),
    "tspm_learnt": System(
        "TSPM, pictures of the chosen seconds, choice learnt",
        "avqa",
        {**TSPM, "patch_select": "index", "select_grad": "straight_through"},
        BOTH,
    ),
    "tspm_question": System(
        "the same, chosen by the question itself",
        "avqa",
        {**TSPM, "patch_select": "index", "select_grad": "straight_through", "prompt": "question"},
        BOTH,
    ),
    "tspm_all": System("TSPM, all seconds", "avqa", {**TSPM, "temporal": False}, BOTH),
    "tspm_no_spm": System("TSPM without a look into pictures", "avqa", {**TSPM, "spatial": False}, BOTH),
    "tspm_nothing": System(
        "TSPM without all four",
        "avqa",
        {**TSPM, "temporal": False, "spatial": False, "cross_modal": False, "grounding": False},
        BOTH,
    ),
    "avst": System("AVST", "avqa", {"name": "avst"}, "clip_b32"),
    "pstp": System("PSTP-Net, as published", "avqa", PSTP, "clip_b32"),
    "pstp_paper": System("PSTP-Net, as the paper means it", "avqa", {**PSTP, "fusion": "paper"}, "clip_b32"),
}


def words(args: argparse.Namespace, row: str) -> Words:
    """What a row adds to `avkit fit`."""
    here = ROWS[row]
    steps, data, _ = TASKS[here.task]
    options = {"data.scenes.val_size": 32, **data}
    options |= {f"model.system.{key}": value for key, value in here.system.items()}
    options |= {"model.lr": here.rate} if here.rate else {}
    options |= {"data.features.visual": here.visual, "data.root": args.root} if here.task == "avqa" else {}
    return Words(steps, options)


if __name__ == "__main__":
    main(__doc__, ROWS, {task: metrics for task, (_, _, metrics) in TASKS.items()}, words)
