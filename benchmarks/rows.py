# SPDX-License-Identifier: Apache-2.0
"""Runs of `avkit fit` as rows of tables: what `events.py` and `spatial.py` share."""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Epochs of every run.
EPOCHS = 4


@dataclass
class Row:
    """A system on a task.

    Attributes:
        title: In the table.
        task: What it answers.
    """

    title: str
    task: str


@dataclass
class Words:
    """What a row adds to `avkit fit`: options by name, and a recipe."""

    steps: int
    options: dict[str, object]
    recipe: Path | None = None


def fit(args: argparse.Namespace, row: str, seed: int, task: str, words: Words, extra: Sequence[str]) -> dict[str, Any]:
    """Figures of a row's run with a seed, which is trained unless it is there."""
    name, report = f"{row}-{seed}", args.out / f"{row}-{seed}" / "report.json"
    if not report.exists():
        shutil.rmtree(args.out / name, ignore_errors=True)  # cut short before
        options: dict[str, object] = {
            "tasks": task,
            "out": args.out,
            "name": name,
            "seed_everything": seed,
            "data.steps_per_epoch": max(1, round(args.scale * words.steps / EPOCHS)),
            "trainer.max_epochs": EPOCHS,
            "trainer.enable_progress_bar": "false",
            **words.options,
        }
        command = [sys.executable, "-m", "avkit", "fit", *(["--config", str(words.recipe)] if words.recipe else [])]
        command += [word for key, value in options.items() for word in (f"--{key}", str(value))]
        with (args.out / f"{name}.log").open("w") as log:
            subprocess.run([*command, *extra], check=True, stdout=log, stderr=log)
    content = json.loads(report.read_text())
    print(f"{name}: {content['facts']['speed']['training']}", flush=True)
    return {row["metric"]: row for row in content["rows"]}


def table(
    rows: Mapping[str, Row], metrics: Mapping[str, Sequence[str]], figures: Mapping[str, list[dict[str, Any]]]
) -> str:
    """Means over seeds and half their spread, in Markdown, a table per task.

    Silence stands beside the first metric where a task has it; the best constant rule stands in the last line.
    """
    lines = []
    for task, columns in metrics.items():
        mine = [row for row in figures if rows[row].task == task]
        if not mine:
            continue
        first = figures[mine[0]][0]
        silence = [columns[0]] if first.get(columns[0], {}).get("silence") is not None else []
        heads = [*columns, *(f"{metric} in silence" for metric in silence)]
        lines += ["", f"| {task} | {' | '.join(heads)} |", f"|---|{'--:|' * len(heads)}"]
        wanted = [*((metric, "value") for metric in columns), *((metric, "silence") for metric in silence)]
        for row in mine:
            cells = [_cell([result.get(metric, {}).get(kind) for result in figures[row]]) for metric, kind in wanted]
            lines.append(f"| {rows[row].title} | {' | '.join(cells)} |")
        base = [_cell([first.get(metric, {}).get("baseline")]) for metric in columns]
        lines.append(f"| best constant rule | {' | '.join([*base, *('' for _ in silence)])} |")
    return "\n".join(lines)


def _cell(values: Sequence[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    if not numbers:
        return ""
    mean = f"{statistics.mean(numbers):.3f}"
    if len(numbers) == 1:
        return mean
    return f"{mean} ± {(max(numbers) - min(numbers)) / 2:.3f}"


def main(
    about: str | None,
    rows: Mapping[str, Row],
    metrics: Mapping[str, Sequence[str]],
    words: Callable[[argparse.Namespace, str], Words],
) -> None:
    """Train what is not there, and print the tables.

    Args:
        about: The script's docstring.
        rows: By name.
        metrics: Figures that are shown, by task.
        words: What a row adds to `avkit fit`.
    """
    p = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--root", type=Path, help="exported scenes")
    p.add_argument("--rows", default=",".join(rows))
    p.add_argument("--seeds", type=int, default=1)
    p.add_argument("--scale", type=float, default=1.0, help="factor of the steps")
    p.add_argument("--together", type=int, default=1, help="runs at a time")
    p.add_argument("--out", type=Path, default=Path("runs") / Path(sys.argv[0]).stem)
    args, extra = p.parse_known_args()
    chosen = args.rows.split(",")
    if strange := [row for row in chosen if row not in rows]:
        p.error(f"no rows {', '.join(strange)}; there are {', '.join(rows)}")
    args.out.mkdir(parents=True, exist_ok=True)
    jobs = [(row, seed) for seed in range(args.seeds) for row in chosen]

    def run(job: tuple[str, int]) -> dict[str, Any]:
        row, seed = job
        return fit(args, row, seed, rows[row].task, words(args, row), extra)

    with ThreadPoolExecutor(args.together) as pool:
        results = list(pool.map(run, jobs))
    figures: dict[str, list[dict[str, Any]]] = {}
    for (row, _), values in zip(jobs, results, strict=True):
        figures.setdefault(row, []).append(values)
    print(table(rows, metrics, figures))
