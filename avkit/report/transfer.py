# SPDX-License-Identifier: Apache-2.0
"""What joint training brings: runs of one task beside a run of several, score by score."""

import math
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.answers.encoding import Record
from avkit.errors import RunError
from avkit.files import write_file
from avkit.report.files import render, strict_json
from avkit.report.numbers import number

if TYPE_CHECKING:
    from rich.table import Table

#: Training steps of a task may differ by this share without a note.
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
    joint = [run for run in runs if len(run.tasks) > 1]
    single = [run for run in runs if len(run.tasks) <= 1]
    _check_comparable(runs, joint, single)
    _check_seeds(runs)
    rows: list[Transfer] = []
    notes: list[str] = []
    for task in joint[0].tasks:
        alone = [run for run in single if run.tasks == [task]]
        if alone:
            notes += _unequal(task, joint, alone)
            rows += _task_rows(task, joint, alone)
        else:
            notes.append(f"{task} was not trained alone, so it is not compared.")
    for task in sorted({run.tasks[0] for run in single} - set(joint[0].tasks)):
        notes.append(f"{task} is not among the tasks of the joint run, so its runs are left out.")
    if not rows:
        raise RunError(f"No run of one task alone is of {', '.join(joint[0].tasks)}.")
    return TransferReport(joint[0].tasks, runs[0].dataset, rows, notes)


def _check_comparable(runs: Sequence[Scores], joint: Sequence[Scores], single: Sequence[Scores]) -> None:
    """Raise RunError unless there are runs of both sorts, with the same joint tasks and data."""
    if not joint or not single:
        missing = "run of one task alone" if joint else "joint run (of several tasks)"
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


def _check_seeds(runs: Sequence[Scores]) -> None:
    """Raise RunError if two runs are of the same tasks and seed."""
    names: dict[tuple[tuple[str, ...], int], str] = {}
    for run in runs:
        key = (tuple(sorted(run.tasks)), run.seed)
        if key in names:
            raise RunError(
                f"{names[key]} and {run.name} are both of {', '.join(run.tasks)} with seed {run.seed}. Name each once, "
                "or train with another --seed_everything."
            )
        names[key] = run.name


def _task_rows(task: str, joint: Sequence[Scores], single: Sequence[Scores]) -> list[Transfer]:
    """A row for each metric of a task that both sorts of runs have."""
    rows = []
    for key in joint[0].values:
        joint_values = _values_by_seed(joint, key)
        single_values = _values_by_seed(single, key)
        if key[0] == task and joint_values and single_values:
            rows.append(Transfer(task, key[1], joint_values, single_values, joint[0].units.get(key, "fraction")))
    return rows


def _values_by_seed(runs: Sequence[Scores], key: tuple[str, str]) -> dict[int, float]:
    """The score of a task and metric, by seed."""
    return {run.seed: run.values[key] for run in runs if key in run.values}


def _unequal(task: str, joint: Sequence[Scores], single: Sequence[Scores]) -> list[str]:
    """A note where the task had more steps in one of the two, by the seeds that both have where there are such."""
    shared = {run.seed for run in joint} & {run.seed for run in single}
    joint_steps = _mean_steps(task, joint, shared)
    single_steps = _mean_steps(task, single, shared)
    if abs(joint_steps - single_steps) <= _SAME_STEPS * max(joint_steps, single_steps):
        return []
    return [
        f"{task} had {joint_steps:.0f} training steps jointly and {single_steps:.0f} alone, so the two are not of "
        "equal effort."
    ]


def _mean_steps(task: str, runs: Sequence[Scores], seeds: Collection[int]) -> float:
    """Mean training steps of a task over the runs of some seeds, over all runs if there are no seeds."""
    return statistics.fmean(run.steps.get(task, 0) for run in runs if run.seed in seeds or not seeds)


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
        table.add_row(
            Text(row.task),
            Text(row.metric),
            Text(text["joint"]),
            Text(text["single"]),
            Text(text["difference"], style=_difference_style(row)),
            Text(text["spread"]),
            Text(text["seeds"]),
        )
    return table


def _difference_style(row: Transfer) -> str:
    if row.difference > 0:
        return "green"
    return "red" if row.difference < 0 else ""


def write_transfer(folder: Path, report: TransferReport) -> Path:
    """Write transfer.json, transfer.md and transfer.html; returns the path of the last."""
    values: Record = {"report": report, "rows": [(row, cells(row)) for row in report.rows]}
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
    paths = [write_file(folder / name, content) for name, content in contents.items()]
    return paths[-1]
