# SPDX-License-Identifier: Apache-2.0
"""What joint training brings: runs of one task beside a run of several, score by score."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avkit.errors import RunError
from avkit.files import write_file
from avkit.report.files import render, strict_json
from avkit.report.run import number

if TYPE_CHECKING:
    from rich.table import Table

#: Training steps of a task may differ by this share before a reader is told.
_SAME_STEPS = 0.05


@dataclass
class Scores:
    """The scores of one run.

    Attributes:
        name: Of the run.
        tasks: That it was trained for.
        dataset: That it was tested on.
        seed: Of the run.
        steps: Training steps of each task.
        values: Score by task and metric; those that were not run are left out.
        units: `fraction` or `number`, by task and metric.
    """

    name: str
    tasks: list[str]
    dataset: str
    seed: int
    steps: dict[str, int]
    values: dict[tuple[str, str], float]
    units: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass
class Transfer:
    """One metric of one task, trained jointly and alone.

    Attributes:
        joint: Score of each joint run, by seed.
        single: Score of each run of the task alone, by seed.
    """

    task: str
    metric: str
    joint: dict[int, float]
    single: dict[int, float]
    unit: str = "fraction"

    @property
    def difference(self) -> float:
        """Mean of the joint runs minus mean of the single ones."""
        return statistics.fmean(self.joint.values()) - statistics.fmean(self.single.values())

    @property
    def spread(self) -> float | None:
        """Standard deviation of the difference over seeds; None for one seed.

        Where both have the same seeds it is that of the differences seed by seed, else that of a difference of two
        independent draws.
        """
        if min(len(self.joint), len(self.single)) < 2:
            return None
        if self.joint.keys() == self.single.keys():
            return statistics.stdev(self.joint[seed] - self.single[seed] for seed in self.joint)
        return math.hypot(statistics.stdev(self.joint.values()), statistics.stdev(self.single.values()))


@dataclass
class TransferReport:
    """All that a transfer table shows: rows, the first of each task being what it is judged by, and notes."""

    tasks: list[str]
    dataset: str
    rows: list[Transfer]
    notes: list[str]

    def gains(self) -> tuple[int, int]:
        """Tasks whose first metric is at least as good jointly, and tasks compared."""
        first = {row.task: row for row in reversed(self.rows)}
        return sum(row.difference >= 0 for row in first.values()), len(first)


def compare(runs: Sequence[Scores]) -> TransferReport:
    """Joint minus single of every metric that both have.

    Args:
        runs: Runs of several tasks, all of the same ones, and runs of one of them each; in any order, of any seeds.

    Raises:
        RunError: If there is no joint run or no single one, joint runs differ in their tasks, data differ, or two runs
            are of the same tasks and seed.
    """
    joint, single = ([run for run in runs if (len(run.tasks) > 1) == several] for several in (True, False))
    if not joint or not single:
        missing = "joint run (of several tasks)" if not joint else "run of one task alone"
        raise RunError(f"There is no {missing} among {', '.join(run.name for run in runs)}; a transfer needs both.")
    for run in joint:
        if sorted(run.tasks) != sorted(joint[0].tasks):
            raise RunError(
                f"{joint[0].name} is of {', '.join(joint[0].tasks)} and {run.name} of {', '.join(run.tasks)}. Compare "
                "one joint training at a time."
            )
    for run in runs:
        if run.dataset != runs[0].dataset:
            raise RunError(
                f"{runs[0].name} was tested on {runs[0].dataset} and {run.name} on {run.dataset}; scores of different "
                "data do not compare."
            )
    seen: dict[tuple[Any, ...], str] = {}
    for run in runs:
        key = (*sorted(run.tasks), run.seed)
        if key in seen:
            raise RunError(
                f"{seen[key]} and {run.name} are both of {', '.join(run.tasks)} with seed {run.seed}. Name each once, "
                "or train with another --seed_everything."
            )
        seen[key] = run.name
    rows, notes = [], []
    for task in joint[0].tasks:
        alone = [run for run in single if run.tasks == [task]]
        if not alone:
            notes.append(f"{task} was not trained alone, so nothing is said about it.")
            continue
        notes += _unequal(task, joint, alone)
        for key in joint[0].values:
            ours, theirs = ({run.seed: run.values[key] for run in p if key in run.values} for p in (joint, alone))
            if key[0] == task and ours and theirs:
                rows.append(Transfer(*key, ours, theirs, joint[0].units.get(key, "fraction")))
    strange = sorted({run.tasks[0] for run in single} - set(joint[0].tasks))
    notes += [f"{task} is not among the tasks of the joint run, so its runs are left out." for task in strange]
    if not rows:
        raise RunError(f"No run of one task alone is of {', '.join(joint[0].tasks)}.")
    return TransferReport(joint[0].tasks, runs[0].dataset, rows, notes)


def _unequal(task: str, joint: Sequence[Scores], single: Sequence[Scores]) -> list[str]:
    """A note where the task had more steps in one of the two, by the seeds that both have where there are such."""
    shared = {run.seed for run in joint} & {run.seed for run in single}
    ours, theirs = (
        statistics.fmean(run.steps.get(task, 0) for run in part if run.seed in shared or not shared)
        for part in (joint, single)
    )
    if abs(ours - theirs) <= _SAME_STEPS * max(ours, theirs):
        return []
    return [f"{task} had {ours:.0f} training steps jointly and {theirs:.0f} alone, so the two are not of equal effort."]


def cells(row: Transfer) -> dict[str, str]:
    """The numbers of a row as text: fractions in percent with one decimal, differences in points."""
    spread = row.spread
    return {
        "joint": number(statistics.fmean(row.joint.values()), row.unit),
        "single": number(statistics.fmean(row.single.values()), row.unit),
        "difference": number(row.difference, row.unit, sign=True),
        "spread": "one seed" if spread is None else f"± {number(spread, row.unit)}",
        "seeds": f"{len(row.joint)} and {len(row.single)}",
    }


def transfer_table(report: TransferReport) -> "Table":
    """The table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Joint minus single on {report.dataset}", title_justify="left", header_style="bold")
    for head in ("task", "metric", "joint", "single", "difference", "spread", "seeds"):
        table.add_column(head, justify="left" if head in ("task", "metric") else "right", overflow="fold")
    for row in report.rows:
        text = cells(row)
        style = "green" if row.difference > 0 else "red" if row.difference < 0 else ""
        shown = [Text(row.task), Text(row.metric), Text(text["joint"]), Text(text["single"])]
        table.add_row(*shown, Text(text["difference"], style=style), Text(text["spread"]), Text(text["seeds"]))
    return table


def write_transfer(folder: Path, report: TransferReport) -> Path:
    """Write transfer.json, transfer.md and transfer.html; returns the path of the last."""
    values: dict[str, Any] = {"report": report, "rows": [(row, cells(row)) for row in report.rows]}
    record = {
        "tasks": report.tasks,
        "dataset": report.dataset,
        "rows": [vars(row) | {"difference": row.difference, "spread": row.spread} for row in report.rows],
        "notes": report.notes,
    }
    contents = {
        "transfer.json": strict_json(record),
        "transfer.md": render("transfer.md.j2", **values),
        "transfer.html": render("transfer.html.j2", **values),
    }
    return [write_file(folder / name, content) for name, content in contents.items()][-1]
