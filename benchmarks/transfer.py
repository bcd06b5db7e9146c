# SPDX-License-Identifier: Apache-2.0
"""What joint training brings on scenes: seven tasks together and each alone, the same number of steps for every task.

Trains (1 + number of tasks) x `--seeds` runs under `--out`, those that are there already left alone, and prints and
writes the transfer table of `avkit report`. A task alone gets just the steps that the joint run of the same seed drew.
"""

import argparse
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from avkit.tasks import split_names
from avkit.training.callbacks import read_history

AVKIT = [sys.executable, "-m", "avkit"]


def steps_of(run: Path) -> Counter[str]:
    """Training steps of each task of a run."""
    return Counter(line["task"] for line in read_history(run / "history.jsonl") if "task" in line)


def fit(out: Path, name: str, tasks: list[str], steps: int, seed: int, extra: list[str]) -> Path:
    """Train and test one run, unless it is there; one that was cut short is made anew."""
    folder = out / name
    if not (folder / "report.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        options = {
            "tasks": ",".join(tasks),
            "name": name,
            "out": out,
            "seed_everything": seed,
            "data.steps_per_epoch": steps,
            "trainer.max_epochs": 1,
            "trainer.enable_progress_bar": "false",
        }
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        with (out / f"{name}.log").open("w") as log:
            subprocess.run([*AVKIT, "fit", *words, *extra], check=True, stdout=log, stderr=log)
        print(name, flush=True)
    return folder


def main() -> None:
    """Train what is missing, then compare; options not known here go to `avkit fit`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="all")
    parser.add_argument("--steps", type=int, default=1000, help="training steps of a joint run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"))
    args, extra = parser.parse_known_args()
    tasks = split_names(args.tasks)
    args.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(args.at_once) as pool:
        joint = {
            pool.submit(fit, args.out, f"joint-{seed}", tasks, args.steps, seed, extra): seed
            for seed in range(args.seeds)
        }
        single = [
            pool.submit(fit, args.out, f"{task}-{joint[run]}", [task], steps, joint[run], extra)
            for run in as_completed(joint)
            for task, steps in steps_of(run.result()).items()
        ]
        folders = [run.result() for run in [*joint, *single]]
    subprocess.run([*AVKIT, "report", *map(str, folders), "--out", str(args.out)], check=True)


if __name__ == "__main__":
    main()
