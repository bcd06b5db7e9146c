# SPDX-License-Identifier: Apache-2.0
"""The board of scenes: every system that answers a task, the same budget for all of a task, three seeds.

    avkit scenes export --layout ave --out DIR/ave --train 400 --val 32 --test 200 --fps 1 --image_size 32
    avkit scenes export --layout llp --out DIR/llp --train 400 --val 32 --test 200 --fps 1 --image_size 32
    avkit scenes export --layout unav100 --out DIR/unav100 --train 96 --val 16 --test 64 --fps 1 --image_size 32
    avkit scenes export --layout music-avqa --out DIR/music-avqa --train 300 --val 32 --test 200 --fps 1 --image_size 32
    python benchmarks/scenes_board.py --root DIR
    avkit leaderboard scenes

Rows are those of `events.py` and `spatial.py` that are whole systems, each with its own losses and recipe. `BUDGETS`
says how much all rows of a task are trained. Each run is kept under `--out` and left alone once it is there. Its record
and predictions go to `--results`, where `avkit leaderboard verify results --root DIR` scores them again. Runs are forks
of one process that has imported all, one after another: a third of so short a run would be imports.
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

import events
import spatial
from rows import EPOCHS, Row, Words

from avkit.cli import main as avkit

#: What a run needs, imported once for all.
PRELOADED = ["avkit.cli.fit", "avkit.cli.seeds", "avkit.cli.evaluate", "avkit.training.evaluator"]


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
BUDGETS = {
    "ave": Budget(100, 16),
    "ave_weak": Budget(100, 16),
    "avvp": Budget(120, 16),
    "davel": Budget(80, 8),
    "avqa": Budget(150, 16),
    "ssl": Budget(100, 8, SMALL),
    "avs": Budget(100, 4, {**SMALL, "data.crop.trimmed": 0}),
}

#: Rows of `events.py` and `spatial.py` that are whole systems, by the method's name on the board.
EVENTS = {
    "AV-Unified": ("ave", "ave_weak", "avvp", "davel"),
    "AVEL": ("avel", "avel_weak"),
    "DMRN": ("dmrn",),
    "PSP": ("psp", "psp_weak"),
    "HAN": ("han",),
    "MM-Pyramid": ("mm_pyramid",),
    "UnAV": ("unav",),
    "CCNet": ("ccnet",),
}
SPATIAL = {
    "AV-Unified": ("avqa", "ssl", "avs"),
    "TSPM": ("tspm",),
    "AVST": ("avst",),
    "PSTP-Net": ("pstp",),
    "EZ-VSL": ("ez_vsl",),
    "LVS": ("lvs",),
    "TPAVI": ("tpavi",),
    "AVSegFormer": ("avsegformer",),
}


@dataclass(frozen=True)
class Entry:
    """A system on a task.

    Attributes:
        method: Name on the board.
        key: Name of its runs.
        row: System and task.
        words: What it adds to `avkit fit`.
    """

    method: str
    key: str
    row: Row
    words: Words

    @property
    def budget(self) -> Budget:
        """How much it is trained."""
        return BUDGETS[self.row.task]


def entries(root: Path) -> Iterator[Entry]:
    """All systems on all tasks that they answer.

    Args:
        root: Folder of the exported scenes.
    """
    for method, keys in EVENTS.items():
        for key in keys:
            yield Entry(method, key, events.ROWS[key], events.words(argparse.Namespace(root=root), key))
    questions = argparse.Namespace(root=root / "music-avqa")
    for method, keys in SPATIAL.items():
        for key in keys:
            yield Entry(method, key, spatial.ROWS[key], spatial.words(questions, key))


def command(entry: Entry, out: Path, seed: int) -> list[str]:
    """The words after `avkit` that train and test a run."""
    options: dict[str, object] = {
        "tasks": entry.row.task,
        "out": out,
        "name": f"{entry.key}-{seed}",
        "seed_everything": seed,
        "data.steps_per_epoch": entry.budget.steps // EPOCHS,
        "trainer.max_epochs": EPOCHS,
        "trainer.enable_progress_bar": "false",
        **entry.words.options,
        **entry.budget.options,
        "data.loader.workers": 0,
    }
    for group in ("trimmed", "whole", "untrimmed"):
        options[f"data.batch_size.{group}"] = entry.budget.batch
    if "model.system.image_size" in options and "data.image_size" in options:
        options["model.system.image_size"] = options["data.image_size"]
    words = ["fit"]
    if entry.words.recipe:
        words += ["--config", str(entry.words.recipe.relative_to(events.CONFIGS).with_suffix(""))]
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
    p.add_argument("--root", type=Path, required=True, help="folder of the exported scenes")
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--tasks", default="", help="tasks to run, separated by commas; all by default")
    p.add_argument("--out", type=Path, default=Path("runs/scenes_board"))
    p.add_argument("--results", type=Path, default=Path("results"))
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tasks = args.tasks.split(",") if args.tasks else list(BUDGETS)
    chosen = [entry for entry in entries(args.root) if entry.row.task in tasks]
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(PRELOADED)
    runs: list[tuple[Path, str]] = []
    for task in tasks:
        of_task = [entry for entry in chosen if entry.row.task == task]
        for seed, entry in product(range(args.seeds), of_task):
            run = args.out / f"{entry.key}-{seed}"
            if not (run / "records.json").exists():
                shutil.rmtree(run, ignore_errors=True)  # cut short before
                log = args.out / f"{run.name}.log"
                process = processes.Process(target=train, args=(command(entry, args.out, seed), log))
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
