# SPDX-License-Identifier: Apache-2.0
"""The board of scenes: every system that answers a task, the same budget for all of a task, three seeds.

    avkit extract scenes --recipe scenes --tasks ave --out DIR/ave
    avkit extract scenes --recipe scenes --tasks avqa --out DIR/avqa
    avkit extract scenes --recipe scenes --tasks davel --train 1500 --test 128 --out DIR/davel
    python benchmarks/scenes_board.py --root DIR
    avkit leaderboard scenes

Systems on features read stores that encoders trained on scenes made; those of masks and sources read pictures and
sound. Each has its own losses; networks are narrower than published where they would take longer than a few minutes.
`BUDGETS` says how much all rows of a task are trained. Each run is kept under `--out` and left alone once it is there.
Its record and predictions go to `--results`, where `avkit leaderboard verify results` scores them again. Runs are
forks of one process that has imported all, one after another: a third of so short a run would be imports.
"""

import argparse
import json
import multiprocessing
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import spatial

from avkit.cli import main as avkit

#: What a run needs, imported once for all.
PRELOADED = ["avkit.cli.fit", "avkit.cli.seeds", "avkit.cli.evaluate", "avkit.training.evaluator"]
#: Epochs of every run.
EPOCHS = 4


@dataclass(frozen=True)
class Budget:
    """How much every system is trained on a task.

    Attributes:
        steps: Steps in all, in four epochs.
        batch: Clips in a step.
        options: Options of the data that all systems share.
    """

    steps: int
    batch: int
    options: dict[str, object] = field(default_factory=dict)


SMALL = {"data.image_size": 64, "data.scenes.val_size": 16, "data.scenes.test_size": 64}
TRIMMED = {"data.crop.trimmed": 0, "data.scenes.train_size": 4000, "data.scenes.val_size": 32}
UNTRIMMED = {
    "data.crop.untrimmed": 32,
    "data.scenes.train_size": 1500,
    "data.scenes.val_size": 32,
    "data.scenes.test_size": 128,
}
BUDGETS = {
    "ave": Budget(120, 16, TRIMMED),
    "ave_weak": Budget(240, 16, TRIMMED),
    "avvp": Budget(120, 16, TRIMMED),
    "davel": Budget(100, 8, UNTRIMMED),
    "avqa": Budget(1200, 8, TRIMMED),
    "ssl": Budget(100, 8, SMALL),
    "avs": Budget(100, 4, {**SMALL, "data.crop.trimmed": 0}),
}
#: Folder of the stores of each task that is trained on features.
STORES = {"ave": "ave", "ave_weak": "ave", "avvp": "ave", "davel": "davel", "avqa": "avqa"}


@dataclass(frozen=True)
class Entry:
    """A system on a task.

    Attributes:
        method: Name on the board.
        key: Name of its runs.
        task: What it answers.
        visual: Stores of pictures that it reads, without folder and ending, joined by `+`; of stored features alone.
        system: Options of the system.
        options: Other options.
    """

    method: str
    key: str
    task: str
    visual: str = ""
    system: dict[str, object] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict)

    @property
    def budget(self) -> Budget:
        """How much it is trained."""
        return BUDGETS[self.task]


WORDS = {"text_weights": "scenes"}
DENSE = {"width": 64, "channels": 64, "length": 64}
TSPM = {"name": "tspm", "frame": 64, "width": 128, "inner": 256, "topk": 3, **WORDS}
PSTP = {"name": "pstp", "width": 128, "inner": 256, "segments": 5, "topk": 2, "topm": 12, **WORDS}
STORED = [
    Entry("AV-Unified", "ave", "ave", "tome14"),
    Entry("AVEL", "avel", "ave", "patches", {"name": "avel"}),
    Entry("DMRN", "dmrn", "ave", "patches", {"name": "avel", "fusion": "residual"}),
    Entry("PSP", "psp", "ave", "patches", {"name": "psp"}),
    Entry("AV-Unified", "ave_weak", "ave_weak", "tome14"),
    Entry("AVEL", "avel_weak", "ave_weak", "patches", {"name": "avel"}),
    Entry("PSP", "psp_weak", "ave_weak", "patches", {"name": "psp", "weak": True}),
    Entry("AV-Unified", "avvp", "avvp", "tome14"),
    Entry("HAN", "han", "avvp", "frame", {"name": "han"}),
    Entry("MM-Pyramid", "mm_pyramid", "avvp", "frame", {"name": "mm_pyramid", "width": 128, "inner": 128}),
    Entry("AV-Unified", "davel", "davel", "tome14"),
    Entry("UnAV", "unav", "davel", "frame", {"name": "unav", "inner": 8, **DENSE}),
    Entry("CCNet", "ccnet", "davel", "frame", {"name": "ccnet", "inner": 8, **DENSE}),
    Entry("ActionFormer", "actionformer", "davel", "frame", {"name": "actionformer", "width": 64}),
    Entry("TadTR", "tadtr", "davel", "frame", {"name": "tadtr", "width": 64, "inner": 128}),
    Entry("UniAV", "uniav", "davel", "frame", {"name": "uniav", "text": "small", **WORDS, **DENSE}),
    Entry("AV-Unified", "avqa", "avqa", "tome14", WORDS),
    Entry("AVST", "avst", "avqa", "patches", {"name": "avst"}),
    Entry("PSTP-Net", "pstp", "avqa", "patches", PSTP),
    Entry("TSPM", "tspm", "avqa", "tome14+frame", TSPM),
    Entry("TSPM (chosen seconds)", "tspm_index", "avqa", "tome14+frame", {**TSPM, "patch_select": "index"}),
    Entry(
        "TSPM (learnt choice)",
        "tspm_learnt",
        "avqa",
        "tome14+frame",
        {**TSPM, "patch_select": "index", "select_grad": "straight_through"},
    ),
]
#: Rows of `spatial.py` that are whole systems on pictures and sound, by the method's name on the board.
ON_PICTURES = {
    "AV-Unified": ("ssl", "avs"),
    "EZ-VSL": ("ez_vsl",),
    "LVS": ("lvs",),
    "TPAVI": ("tpavi",),
    "AVSegFormer": ("avsegformer",),
}


def entries() -> Iterator[Entry]:
    """All systems on all tasks that they answer."""
    yield from STORED
    for method, keys in ON_PICTURES.items():
        for key in keys:
            row = spatial.ROWS[key]
            rate = {} if row.rate is None else {"model.lr": row.rate}
            yield Entry(method, key, row.task, system=row.system, options=rate)


def command(entry: Entry, root: Path, out: Path, seed: int) -> list[str]:
    """The words after `avkit` that train and test a run."""
    options: dict[str, object] = {
        "tasks": entry.task,
        "out": out,
        "name": f"{entry.key}-{seed}",
        "seed_everything": seed,
        "data.steps_per_epoch": entry.budget.steps // EPOCHS,
        "trainer.max_epochs": EPOCHS,
        "trainer.enable_progress_bar": "false",
        **entry.budget.options,
        **entry.options,
        "data.loader.workers": 0,
    }
    for name, value in entry.system.items():
        options[f"model.system.{name}"] = value
    if entry.visual:
        folder = STORES[entry.task]
        options |= {"data.dataset": "scenes", "data.root": root}
        options["data.features.visual"] = "+".join(f"{folder}/{name}.h5" for name in entry.visual.split("+"))
        options["data.features.audio"] = f"{folder}/audio.h5"
    for group in ("trimmed", "whole", "untrimmed"):
        options[f"data.batch_size.{group}"] = entry.budget.batch
    if "model.system.image_size" in options and "data.image_size" in options:
        options["model.system.image_size"] = options["data.image_size"]
    words = ["fit"]
    for key, value in options.items():
        words += [f"--{key}", str(value)]
    return words


def train(words: Sequence[str], log: Path) -> None:
    """Train in a process of its own, which ends with the command's status.

    Args:
        words: The words after `avkit`.
        log: File of what it prints.
    """
    with log.open("w") as file, redirect_stdout(file), redirect_stderr(file):
        status = avkit(list(words))
    sys.exit(status)


def main() -> None:
    """Train what is not there, and add every run to the board."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--root", type=Path, required=True, help="folder of the stores")
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--tasks", default="", help="tasks to run, separated by commas; all by default")
    p.add_argument("--rows", default="", help="names of runs, separated by commas; all by default")
    p.add_argument("--out", type=Path, default=Path("runs/scenes_board"))
    p.add_argument("--results", type=Path, default=Path("results"))
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    args.rows = args.rows.split(",") if args.rows else []
    tasks = args.tasks.split(",") if args.tasks else list(BUDGETS)
    chosen = [entry for entry in entries() if entry.task in tasks and (not args.rows or entry.key in args.rows)]
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(PRELOADED)
    runs: list[tuple[Path, str]] = []
    for seed, task, entry in product(range(args.seeds), tasks, chosen):
        if entry.task != task:
            continue
        run = args.out / f"{entry.key}-{seed}"
        if not (run / "records.json").exists():
            shutil.rmtree(run, ignore_errors=True)  # cut short before
            log = args.out / f"{run.name}.log"
            process = processes.Process(target=train, args=(command(entry, args.root, args.out, seed), log))
            process.start()
            process.join()
            if process.exitcode:
                print(f"{run} failed: see {log}", file=sys.stderr, flush=True)
                continue
            print(f"{run.name}: {json.loads((run / 'report.json').read_text())['facts']['speed']}", flush=True)
        runs.append((run, entry.method))
    for run, method in runs:
        if avkit(["leaderboard", "add", str(run), "--as", method, "--results", str(args.results), "--gzip"]):
            print(f"{run} was not added", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
