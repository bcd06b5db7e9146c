# SPDX-License-Identifier: Apache-2.0
"""What joint training brings: runs of one task beside a run of several, score by score."""

import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.answers.encoding import Record
from avkit.errors import RunError
from avkit.files import write_file
from avkit.report.evidence import Difference, difference, difference_deviation
from avkit.report.files import render, strict_json
from avkit.report.numbers import MISSING, interval, number
from avkit.report.scores import Key, Scores, check_same_tests
from avkit.report.tables import Column, below, make_table

if TYPE_CHECKING:
    from rich.table import Table

#: Training steps of a task may differ by this share without a note.
_SAME_STEPS = 0.05


@dataclass
class Transfer:
    """One metric of one task, trained jointly and alone.

    Attributes:
        joint: Score of each joint run, by seed.
        single: Score of each run of the task alone, by seed.
        tested: The difference with its interval and test.
    """

    task: str
    metric: str
    joint: dict[int, float]
    single: dict[int, float]
    tested: Difference
    unit: str = "fraction"

    @property
    def difference(self) -> float:
        """Mean of the joint runs minus mean of the single ones."""
        return statistics.fmean(self.joint.values()) - statistics.fmean(self.single.values())

    @property
    def spread(self) -> float | None:
        """Standard deviation of the difference over seeds; None for one seed."""
        return difference_deviation(self.single, self.joint)


@dataclass
class TransferReport:
    """All that a transfer table shows: rows, the first of each task being what it is judged by, and notes."""

    tasks: list[str]
    dataset: str
    rows: list[Transfer]
    notes: list[str]

    def first_rows(self) -> list[Transfer]:
        """The metric by which each task is judged."""
        first = {row.task: row for row in reversed(self.rows)}
        return [first[task] for task in self.tasks if task in first]


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
    for number_of_run in range(len(runs)):
        check_same_tests(runs[number_of_run:], "Test them on the same data with 'avkit test RUN'.")


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
        with_joint = [run for run in joint if key in run.values]
        with_single = [run for run in single if key in run.values]
        if key[0] == task and with_joint and with_single:
            rows.append(
                Transfer(
                    task,
                    key[1],
                    _values_by_seed(with_joint, key),
                    _values_by_seed(with_single, key),
                    difference(with_single, with_joint, key),
                    joint[0].units.get(key, "fraction"),
                )
            )
    return rows


def _values_by_seed(runs: Sequence[Scores], key: Key) -> dict[int, float]:
    """The score of a task and metric, by seed."""
    return {run.seed: run.values[key] for run in runs}


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


def conclusion(report: TransferReport) -> list[str]:
    """What the runs show of each task, a sentence each: nothing where an interval reaches 0 or there is none."""
    return [_sentence(row) for row in report.first_rows()]


def _sentence(row: Transfer) -> str:
    """What a row shows."""
    text = cells(row)
    name = f"{row.task} {row.metric}"
    if row.tested.low is None:
        return f"{name}: no conclusion, {row.tested.why}."
    evidence = f"{text['difference']} (95 % {text['interval']}, {row.tested.clips} clips, {text['seeds']} seeds)"
    if not row.tested.verdict:
        return f"{name}: undecided, {evidence}."
    if row.spread is None:
        return (
            f"{name}: the joint run scores {row.tested.verdict}, {evidence}; one seed says nothing of other trainings."
        )
    better = "better" if row.tested.verdict == "higher" else "worse"
    return f"{name}: joint training is {better}, {evidence}."


def cells(row: Transfer) -> dict[str, str]:
    """The numbers of a row as text: fractions in percent with one decimal, differences in points."""
    spread = row.spread
    return {
        "joint": number(statistics.fmean(row.joint.values()), row.unit),
        "single": number(statistics.fmean(row.single.values()), row.unit),
        "difference": number(row.difference, row.unit, sign=True),
        "interval": interval(row.tested.low, row.tested.high, row.unit, sign=True),
        "spread": "one seed" if spread is None else f"± {number(spread, row.unit)}",
        "seeds": f"{len(row.joint)} and {len(row.single)}",
        "clips": f"{row.tested.clips:,}" if row.tested.clips else MISSING,
        "style": {"higher": "good", "lower": "bad", "": ""}[row.tested.verdict],
    }


def transfer_table(report: TransferReport) -> "Table":
    """The table for the terminal."""
    from rich.text import Text

    numbers = ("joint", "single", "difference", "spread", "clips")
    columns = [Column("task"), Column("metric", width=14), *(Column(name, right=True) for name in numbers)]
    table = make_table(columns, f"Joint minus single on {report.dataset}")
    styles = {"good": "green", "bad": "red", "": ""}
    for row in report.rows:
        text = cells(row)
        table.add_row(
            Text(row.task),
            Text(row.metric),
            Text(text["joint"]),
            Text(text["single"]),
            below(Text(text["difference"], style=styles[text["style"]]), text["interval"]),
            below(Text(text["spread"]), f"{text['seeds']} seeds"),
            Text(text["clips"]),
        )
    return table


def write_transfer(folder: Path, report: TransferReport) -> Path:
    """Write transfer.json, transfer.md and transfer.html; returns the path of the last."""
    sentences = conclusion(report)
    values: Record = {"report": report, "rows": [(row, cells(row)) for row in report.rows], "conclusion": sentences}
    record = {
        "tasks": report.tasks,
        "dataset": report.dataset,
        "rows": [_record(row) for row in report.rows],
        "notes": report.notes,
        "conclusion": sentences,
    }
    contents = {
        "transfer.json": strict_json(record),
        "transfer.md": render("transfer.md.j2", **values),
        "transfer.html": render("transfer.html.j2", **values),
    }
    paths = [write_file(folder / name, content) for name, content in contents.items()]
    return paths[-1]


def _record(row: Transfer) -> Record:
    """A row as JSON holds it."""
    tested = {"low": row.tested.low, "high": row.tested.high, "p": row.tested.p, "clips": row.tested.clips}
    attributes = {name: value for name, value in vars(row).items() if name != "tested"}
    return attributes | {"difference": row.difference, "spread": row.spread} | tested
