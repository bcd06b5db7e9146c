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
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

CONFIGS = Path(__file__).parents[1] / "configs"
#: Epochs of every run; the last of four parts has a hundredth of the first's rate where a recipe steps down.
EPOCHS = 4
NARROW = {"width": 64, "channels": 64, "inner": 8, "length": 192}
#: By task: data, batch option and size, steps, and the figures that are shown.
TASKS = {
    "ave": ("ave", "whole_batch", 32, 480, ["accuracy"]),
    "ave_weak": ("ave", "whole_batch", 32, 480, ["accuracy"]),
    "avvp": ("llp", "whole_batch", 16, 600, ["segment/Type", "segment/Event", "event/Type", "event/Event"]),
    "davel": ("unav100", "long_batch", 8, 240, ["Avg", "mAP@0.5", "mAP@0.7"]),
}
FEATURES = {"ave": ("vgg19", "vggish"), "llp": ("res152+r2plus1d_18", "vggish"), "unav100": ("rgb+flow", "vggish")}


@dataclass
class Row:
    """A system on a task.

    Attributes:
        title: In the table.
        task: What it answers.
        config: Its recipe; none for AV-Unified.
        system: Options of the system.
        schedule: Options of the rate, scaled.
    """

    title: str
    task: str
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
STEP = {"lr_scheduler.init_args.step_size": EPOCHS // 4}
ROWS = {
    "avel": Row("AVEL (AV_att)", "ave", "avel_ave"),
    "dmrn": Row("DMRN", "ave", "avel_ave", {"fusion": "residual"}),
    "psp": Row("PSP", "ave", "psp_ave", {}, {"lr_scheduler.init_args.milestones": "[1,2]"}),
    "ave": Row("AV-Unified, general head", "ave"),
    "avel_weak": Row("AVEL", "ave_weak", "avel_ave"),
    "psp_weak": Row(
        "PSP",
        "ave_weak",
        "psp_ave_weak",
        {},
        {"lr_scheduler.init_args.milestones": "[1,2]", "data.release": "official"},
    ),
    "ave_weak": Row("AV-Unified, general head", "ave_weak"),
    "han": Row("HAN", "avvp", "han_llp", {}, STEP),
    "mm_pyramid": Row("MM-Pyramid", "avvp", "mm_pyramid_llp", {}, STEP),
    "mm_unswapped": Row("MM-Pyramid, streams not swapped", "avvp", "mm_pyramid_llp", {"swapped": False}, STEP),
    "avvp": Row("AV-Unified, general head", "avvp"),
    "unav": Row("UnAV", "davel", "unav_unav100", NARROW),
    "unav_sound": Row("UnAV, padding of its own", "davel", "unav_unav100", {**NARROW, "mixed": False}),
    "ccnet": Row("CCNet", "davel", "ccnet_unav100", NARROW),
    "ccnet_sound": Row(
        "CCNet, padding of its own, gates that see none",
        "davel",
        "ccnet_unav100",
        {**NARROW, "mixed": False, "blind": False},
    ),
    "davel": Row("AV-Unified, general head", "davel"),
    "no_cmcc": Row("CCNet without CMCC", "davel", "ccnet_unav100", {**NARROW, "cmcc": False}),
    "no_cmi": Row("CCNet without CMI", "davel", "ccnet_unav100", {**NARROW, "cmi": False}),
    "no_tcg": Row("CCNet without TCG", "davel", "ccnet_unav100", {**NARROW, "tcg": False}),
    "no_c2f": Row("CCNet without C2F", "davel", "ccnet_unav100", {**NARROW, "c2f": False}),
    "no_f2c": Row("CCNet without F2C", "davel", "ccnet_unav100", {**NARROW, "f2c": False}),
    "f2c_first": Row("CCNet, F2C before C2F", "davel", "ccnet_unav100", {**NARROW, "order": "f2c_c2f"}),
    "no_mtgc": Row("CCNet without C2F and F2C", "davel", "ccnet_unav100", {**NARROW, "c2f": False, "f2c": False}),
}


def fit(args: argparse.Namespace, row: str, seed: int, extra: list[str]) -> dict[str, float]:
    """Figures of a row's run with a seed."""
    here = ROWS[row]
    data, option, batch, steps, _ = TASKS[here.task]
    name, report = f"{row}-{seed}", args.out / f"{row}-{seed}" / "report.json"
    if not report.exists():
        shutil.rmtree(args.out / name, ignore_errors=True)  # cut short before
        visual, audio = FEATURES[data]
        options: dict[str, object] = {
            "tasks": here.task,
            "out": args.out,
            "name": name,
            "seed_everything": seed,
            "data.dataset": data,
            "data.root": args.root / data,
            "data.visual": visual,
            "data.audio": audio,
            f"data.{option}": batch,
            "data.steps_per_epoch": max(1, round(args.scale * steps / EPOCHS)),
            "data.workers": 0,
            "trainer.max_epochs": EPOCHS,
            "trainer.enable_progress_bar": "false",
        }
        if here.config:
            options |= QUICK if here.task == "davel" else {}
            options |= here.schedule | {f"model.system.{key}": value for key, value in here.system.items()}
        elif here.task.startswith("ave"):
            options |= {"data.batch_size": batch, "data.crop": 0}
        elif here.task == "davel":
            options |= {"data.window": 192}
        words = ["fit", *(["--config", CONFIGS / f"{here.config}.yaml"] if here.config else [])]
        words += [word for key, value in options.items() for word in (f"--{key}", str(value))]
        with (args.out / f"{name}.log").open("w") as log:
            command = [sys.executable, "-m", "avkit", *map(str, words), *extra]
            subprocess.run(command, check=True, stdout=log, stderr=log)
    found = json.loads(report.read_text())
    print(f"{name}: {found['facts']['speed']['training']}", flush=True)
    values = {row["metric"]: row["value"] for row in found["rows"]}
    return values | {"best baseline": max((r.get("baseline") or 0) for r in found["rows"][:1])}


def table(figures: dict[str, list[dict[str, float]]]) -> str:
    """Means over seeds and half their spread, in Markdown, a table per task."""
    lines = []
    for task, (_, _, _, _, metrics) in TASKS.items():
        rows = [row for row in figures if ROWS[row].task == task]
        if not rows:
            continue
        lines += ["", f"| {task} | {' | '.join(metrics)} |", f"|---|{'---|' * len(metrics)}"]
        for row in rows:
            cells = []
            for metric in metrics:
                values = [found[metric] for found in figures[row]]
                spread = f" ± {(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.3f}{spread}")
            lines.append(f"| {ROWS[row].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Train what is not there, and print the tables."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--root", type=Path, required=True)
    p.add_argument("--rows", default=",".join(ROWS))
    p.add_argument("--seeds", type=int, default=1)
    p.add_argument("--scale", type=float, default=1.0, help="factor of the steps")
    p.add_argument("--together", type=int, default=1, help="runs at a time")
    p.add_argument("--out", type=Path, default=Path("runs/events"))
    args, extra = p.parse_known_args()
    args.out.mkdir(parents=True, exist_ok=True)
    jobs = [(row, seed) for seed in range(args.seeds) for row in args.rows.split(",")]
    with ThreadPoolExecutor(args.together) as pool:
        found = list(pool.map(lambda job: fit(args, *job, extra), jobs))
    figures: dict[str, list[dict[str, float]]] = {}
    for (row, _), values in zip(jobs, found, strict=True):
        figures.setdefault(row, []).append(values)
    print(table(figures))


if __name__ == "__main__":
    main()
