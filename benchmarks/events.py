# SPDX-License-Identifier: Apache-2.0
"""The systems of events on exported scenes: each by its recipe, scaled to minutes, beside AV-Unified's general heads.

    python benchmarks/events.py --root DIR --together 2

DIR holds `ave`, `llp` and `unav100`, as `avkit scenes export` writes them. Every row reads the same features, sees as
many batches of the same size as the others of its task, and is a run under `--out`; those that are there are left
alone. Schedules are the recipes', with their epochs scaled. UnAV and CCNet are narrower than published, with ten times
the rate, and average their weights over fifty steps: over a thousand, so short a run would test its beginning.
"""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

from rows import EPOCHS, Row, Words, main

CONFIGS = Path(__file__).parents[1] / "avkit" / "configs"
NARROW = {"width": 64, "channels": 64, "inner": 8, "length": 192}
#: UniAV relates no classes, and learns the words of theirs.
IN_WORDS = {"width": 64, "channels": 64, "length": 192, "text": "small", "text_weights": "null"}
#: By task: data, group and size of the batch, steps, and the figures that are shown.
TASKS = {
    "ave": ("ave", "whole", 32, 480, ["accuracy"]),
    "ave_weak": ("ave", "whole", 32, 480, ["accuracy"]),
    "avvp": ("llp", "whole", 16, 600, ["segment/Type", "segment/Event", "event/Type", "event/Event"]),
    "davel": ("unav100", "untrimmed", 8, 240, ["Avg", "mAP@0.5", "mAP@0.7"]),
}
FEATURES = {"ave": ("vgg19", "vggish"), "llp": ("res152+r2plus1d_18", "vggish"), "unav100": ("rgb+flow", "vggish")}


@dataclass
class Recipe(Row):
    """A system on a task.

    Attributes:
        config: Its recipe; none for AV-Unified.
        system: Options of the system.
        schedule: Options of the rate, scaled.
    """

    config: str = ""
    system: dict[str, object] = field(default_factory=dict)
    schedule: dict[str, object] = field(default_factory=dict)


#: Of narrow networks in short runs.
QUICK = {
    "model.lr": 1e-3,
    "trainer.callbacks": json.dumps(
        [{"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.98}}]
    ),
}
#: The last of four parts has a hundredth of the first's rate where a recipe steps down.
STEP = {"lr_scheduler.init_args.step_size": EPOCHS // 4}
ROWS = {
    "avel": Recipe("AVEL (AV_att)", "ave", "avel_ave"),
    "dmrn": Recipe("DMRN", "ave", "avel_ave", {"fusion": "residual"}),
    "psp": Recipe("PSP", "ave", "psp_ave", {}, {"lr_scheduler.init_args.milestones": "[1,2]"}),
    "ave": Recipe("AV-Unified, general head", "ave"),
    "avel_weak": Recipe("AVEL", "ave_weak", "avel_ave"),
    "psp_weak": Recipe(
        "PSP",
        "ave_weak",
        "psp_ave_weak",
        {},
        {"lr_scheduler.init_args.milestones": "[1,2]", "data.release": "official"},
    ),
    "ave_weak": Recipe("AV-Unified, general head", "ave_weak"),
    "han": Recipe("HAN", "avvp", "han_llp", {}, STEP),
    "mm_pyramid": Recipe("MM-Pyramid", "avvp", "mm_pyramid_llp", {}, STEP),
    "mm_unswapped": Recipe("MM-Pyramid, streams not swapped", "avvp", "mm_pyramid_llp", {"swapped": False}, STEP),
    "avvp": Recipe("AV-Unified, general head", "avvp"),
    "unav": Recipe("UnAV", "davel", "unav_unav100", NARROW),
    "unav_sound": Recipe("UnAV, padding of its own", "davel", "unav_unav100", {**NARROW, "mixed": False}),
    "uniav": Recipe("UniAV, one expert", "davel", "uniav_unav100", IN_WORDS),
    "ccnet": Recipe("CCNet", "davel", "ccnet/i3d", NARROW),
    "ccnet_sound": Recipe(
        "CCNet, padding of its own, gates that see none",
        "davel",
        "ccnet/i3d",
        {**NARROW, "mixed": False, "mask_gates": True},
    ),
    "davel": Recipe("AV-Unified, general head", "davel"),
    "no_cmcc": Recipe("CCNet without CMCC", "davel", "ccnet/i3d", {**NARROW, "cmcc": False}),
    "no_cmi": Recipe("CCNet without CMI", "davel", "ccnet/i3d", {**NARROW, "cmi": False}),
    "no_tcg": Recipe("CCNet without TCG", "davel", "ccnet/i3d", {**NARROW, "tcg": False}),
    "no_c2f": Recipe("CCNet without C2F", "davel", "ccnet/i3d", {**NARROW, "c2f": False}),
    "no_f2c": Recipe("CCNet without F2C", "davel", "ccnet/i3d", {**NARROW, "f2c": False}),
    "f2c_first": Recipe("CCNet, F2C before C2F", "davel", "ccnet/i3d", {**NARROW, "order": "f2c_c2f"}),
    "no_mtgc": Recipe("CCNet without C2F and F2C", "davel", "ccnet/i3d", {**NARROW, "c2f": False, "f2c": False}),
}


def words(args: argparse.Namespace, row: str) -> Words:
    """What a row adds to `avkit fit`."""
    here = ROWS[row]
    data, group, batch, steps, _ = TASKS[here.task]
    visual, audio = FEATURES[data]
    options: dict[str, object] = {
        "data.dataset": data,
        "data.root": args.root / data,
        "data.features.visual": visual,
        "data.features.audio": audio,
        f"data.batch_size.{group}": batch,
        "data.loader.workers": 0,
    }
    if here.config:
        options |= QUICK if here.task == "davel" else {}
        options |= here.schedule | {f"model.system.{key}": value for key, value in here.system.items()}
    elif here.task.startswith("ave"):
        options |= {"data.batch_size.trimmed": batch, "data.crop.trimmed": 0}
    elif here.task == "davel":
        options |= {"data.crop.untrimmed": 192}
    return Words(steps, options, CONFIGS / f"{here.config}.yaml" if here.config else None)


if __name__ == "__main__":
    main(__doc__, ROWS, {task: metrics for task, (*_, metrics) in TASKS.items()}, words)
