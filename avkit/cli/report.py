# SPDX-License-Identifier: Apache-2.0
"""`avkit report`: runs of one task beside a run of several, or runs of the same tasks side by side."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.cli.trust import add_switches
from avkit.errors import RunError
from avkit.training.run_folder import RunFolder

if TYPE_CHECKING:
    from avkit.report.transfer import Scores


def run(args: list[str]) -> int:
    """Print and write the transfer table; `args` are the words after `avkit report`."""
    p = argparse.ArgumentParser(
        prog="avkit report",
        description="What joint training brings: joint minus single for each task and metric, with its spread over "
        "seeds. Name runs of several tasks and runs of one task each, all tested. Runs that are all of the same tasks, "
        "such as with named and with default heads, are shown side by side.",
    )
    p.add_argument("runs", nargs="+", type=Path, help="run folders, such as runs/*")
    p.add_argument("--out", type=Path, default=Path("transfer"), help="folder of transfer.html, or of runs.md")
    p.add_argument("--all", action="store_true", help="print every metric, not only those that tasks are judged by")
    add_switches(p)
    options = p.parse_args(args)
    from rich.console import Console

    from avkit.report.side_by_side import same_tasks
    from avkit.report.transfer import compare, transfer_table, write_transfer
    from avkit.tasks import find_task

    scores = [read_scores(path) for path in options.runs]
    if same_tasks(scores):
        return _show_side_by_side(scores, options.out, every_metric=options.all)
    report = compare(scores)
    path = write_transfer(options.out, report)
    if not options.all:
        report.rows = [row for row in report.rows if row.metric in find_task(row.task).headline]
    console = Console()
    console.print(transfer_table(report))
    for note in report.notes:
        console.print(note, style="dim", highlight=False, markup=False)
    better, compared = report.gains()
    print(f"joint training is at least as good on {better} of {compared} tasks")
    print(f"report: {path}")
    return 0


def _show_side_by_side(runs: "list[Scores]", out: Path, *, every_metric: bool) -> int:
    """Print and write the scores of runs of the same tasks."""
    from rich.console import Console

    from avkit.report.side_by_side import side_by_side, side_by_side_table, write_side_by_side
    from avkit.tasks import find_task

    rows = side_by_side(runs)
    path = write_side_by_side(out, runs, rows)
    if not every_metric:
        rows = [(task, metric, scores) for task, metric, scores in rows if metric in find_task(task).headline]
    Console().print(side_by_side_table(runs, rows))
    print(f"report: {path}")
    return 0


def read_scores(path: Path) -> "Scores":
    """The scores of a run that was tested.

    Raises:
        RunError: If it is no run, or was not tested.
    """
    from avkit.report.transfer import Scores
    from avkit.training.callbacks import read_history

    run = RunFolder(path)
    facts = run.read_facts()
    try:
        report = json.loads((path / "report.json").read_text(encoding="utf-8"))
        rows = [row for row in report["rows"] if row["value"] is not None]
        steps: dict[str, int] = {}
        for line in read_history(run.history):
            if "task" in line:
                steps[line["task"]] = steps.get(line["task"], 0) + 1
        return Scores(
            name=str(path),
            tasks=facts["tasks"],
            dataset=facts["dataset"],
            seed=facts["seed"],
            steps=steps,
            values={(row["task"], row["metric"]): row["value"] for row in rows},
            units={(row["task"], row["metric"]): row["unit"] for row in rows},
        )
    except FileNotFoundError:
        raise RunError(f"{path} has no report.json. Test it first: avkit test {path}") from None
    except (json.JSONDecodeError, KeyError, TypeError) as e:
        raise RunError(f"{path / 'report.json'} is no report of avkit ({e!r}). Test again: avkit test {path}") from e
