# SPDX-License-Identifier: Apache-2.0
"""The systems of questions, masks and sources on scenes, small and for minutes, beside AV-Unified's heads.

    avkit scenes export --layout music-avqa --out DIR --train 1200 --val 48 --test 384 --fps 1 --picture 96
    python benchmarks/spatial.py --root DIR --together 2

Every row of a task sees as many batches of the same size, made by the same rule, and is a run under `--out`; those that
are there are left alone. Networks are narrower than published and train from scratch: those of masks and sources on
pictures and sound of the built-in scenes, those of questions on exported scenes and the features beside them. The rows
of TSPM differ in nothing but what is selected: that is what looking into the right seconds is worth.
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

#: By task: steps, options of the data, and the figures that are shown.
TASKS: dict[str, tuple[int, dict[str, object], list[str]]] = {
    "avs": (300, {"data.batch_size": 8, "data.test_size": 128}, ["mIoU", "F"]),
    "ssl": (200, {"data.batch_size": 8, "data.test_size": 128}, ["cIoU@0.5", "AUC", "cIoU_adaptive", "pixel_AP"]),
    "avqa": (
        2000,
        {"data.whole_batch": 32, "data.dataset": "music-avqa", "data.audio": "vggish"},
        ["Overall", "Audio Avg", "Visual Avg", "Audio-Visual Avg"],
    ),
}


@dataclass
class Row:
    """A system on a task.

    Attributes:
        title: In the table.
        task: What it answers.
        system: Options of the system; AV-Unified where it names none.
        visual: Features of pictures that it reads, of questions alone.
        rate: Learning rate, for those that need another than the usual one.
    """

    title: str
    task: str
    system: dict[str, object] = field(default_factory=dict)
    visual: str = "tome14"
    rate: float | None = None


TSPM = {"name": "tspm", "frame": 768, "width": 128, "inner": 256, "topk": 3}
PSTP = {"name": "pstp", "first": True, "width": 128, "inner": 256, "segments": 5, "topk": 2, "topm": 12}
BOTH = "tome14+clip"
TRUNKS = {"picture": 96, "seconds": 1.0}
ROWS = {
    "avs": Row("AV-Unified, general head", "avs"),
    "avsegformer": Row("AVSegFormer", "avs", {"name": "avsegformer"}),
    "tpavi": Row("TPAVI", "avs", {"name": "tpavi"}),
    "tpavi_match": Row("TPAVI, sound matched (MS3's loss)", "avs", {"name": "tpavi", "match": 0.5}),
    "ssl": Row("AV-Unified, general head", "ssl"),
    "ez_vsl": Row("EZ-VSL", "ssl", {"name": "ez_vsl", **TRUNKS}, rate=3e-4),
    "lvs": Row("LVS", "ssl", {"name": "lvs", **TRUNKS}, rate=3e-4),
    "avqa": Row("AV-Unified, general head", "avqa"),
    "tspm": Row("TSPM, as published: pictures of the first seconds", "avqa", TSPM, BOTH),
    "tspm_index": Row("TSPM, pictures of the chosen seconds", "avqa", {**TSPM, "patch_select": "index"}, BOTH),
    "tspm_learnt": Row(
        "TSPM, pictures of the chosen seconds, choice learnt",
        "avqa",
        {**TSPM, "patch_select": "index", "select_grad": "straight_through"},
        BOTH,
    ),
    "tspm_question": Row(
        "the same, chosen by the question itself",
        "avqa",
        {**TSPM, "patch_select": "index", "select_grad": "straight_through", "prompt": "question"},
        BOTH,
    ),
    "tspm_all": Row("TSPM, all seconds", "avqa", {**TSPM, "temporal": False}, BOTH),
    "tspm_no_spm": Row("TSPM without a look into pictures", "avqa", {**TSPM, "spatial": False}, BOTH),
    "tspm_nothing": Row(
        "TSPM without all four",
        "avqa",
        {**TSPM, "temporal": False, "spatial": False, "meeting": False, "grounding": False},
        BOTH,
    ),
    "avst": Row("AVST", "avqa", {"name": "avst"}, "clip_b32"),
    "pstp": Row("PSTP-Net, as published", "avqa", PSTP, "clip_b32"),
    "pstp_paper": Row("PSTP-Net, as the paper means it", "avqa", {**PSTP, "fusion": "paper"}, "clip_b32"),
}


def fit(args: argparse.Namespace, row: str, seed: int, extra: list[str]) -> dict[str, float]:
    """Figures of a row's run with a seed."""
    here = ROWS[row]
    steps, data, _ = TASKS[here.task]
    name, report = f"{row}-{seed}", args.out / f"{row}-{seed}" / "report.json"
    if not report.exists():
        shutil.rmtree(args.out / name, ignore_errors=True)  # cut short before
        options: dict[str, object] = {
            "tasks": here.task,
            "out": args.out,
            "name": name,
            "seed_everything": seed,
            "data.steps_per_epoch": max(1, round(args.scale * steps / 4)),
            "data.val_size": 32,
            "trainer.max_epochs": 4,
            "trainer.enable_progress_bar": "false",
            **data,
            **{f"model.system.{key}": value for key, value in here.system.items()},
        }
        options |= {"model.lr": here.rate} if here.rate else {}
        options |= {"data.visual": here.visual, "data.root": args.root} if here.task == "avqa" else {}
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        with (args.out / f"{name}.log").open("w") as log:
            command = [sys.executable, "-m", "avkit", "fit", *map(str, words), *extra]
            subprocess.run(command, check=True, stdout=log, stderr=log)
    found = json.loads(report.read_text())
    print(f"{name}: {found['facts']['speed']['training']}", flush=True)
    values = {row["metric"]: row["value"] for row in found["rows"]}
    silent = {f"silent {row['metric']}": row["silence"] for row in found["rows"] if row.get("silence") is not None}
    base = {f"baseline {row['metric']}": row.get("baseline") or 0 for row in found["rows"]}
    return values | silent | base


def table(figures: dict[str, list[dict[str, float]]]) -> str:
    """Means over seeds and half their spread, in Markdown, a table per task; baselines stand in the last line."""
    lines = []
    for task, (_, _, metrics) in TASKS.items():
        rows = [row for row in figures if ROWS[row].task == task]
        if not rows:
            continue
        lines += ["", f"| {task} | {' | '.join(metrics)} |", f"|---|{'---|' * len(metrics)}"]
        for row in rows:
            cells = []
            for metric in metrics:
                values = [found.get(metric, float("nan")) for found in figures[row]]
                spread = f" ± {(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.3f}{spread}")
            lines.append(f"| {ROWS[row].title} | {' | '.join(cells)} |")
        base = [figures[rows[0]][0].get(f"baseline {metric}", float("nan")) for metric in metrics]
        lines.append(f"| best constant rule | {' | '.join(f'{x:.3f}' for x in base)} |")
    return "\n".join(lines)


def main() -> None:
    """Train what is not there, and print the tables."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--root", type=Path, help="exported scenes, for questions")
    p.add_argument("--rows", default=",".join(ROWS))
    p.add_argument("--seeds", type=int, default=1)
    p.add_argument("--scale", type=float, default=1.0, help="factor of the steps")
    p.add_argument("--together", type=int, default=1, help="runs at a time")
    p.add_argument("--out", type=Path, default=Path("runs/spatial"))
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
