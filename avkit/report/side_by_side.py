# SPDX-License-Identifier: Apache-2.0
"""Runs of the same tasks side by side, such as one with named heads and one with the default heads."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.errors import RunError
from avkit.files import write_file
from avkit.report.files import markdown
from avkit.report.numbers import number
from avkit.report.transfer import Scores

if TYPE_CHECKING:
    from rich.table import Table

#: A row of the table: task, metric and one score per run.
Row = tuple[str, str, list[str]]


def same_tasks(runs: Sequence[Scores]) -> bool:
    """Whether there are several runs, all of the same tasks."""
    return len(runs) > 1 and len({tuple(sorted(run.tasks)) for run in runs}) == 1


def side_by_side(runs: Sequence[Scores]) -> list[Row]:
    """Every metric that all runs have, with the score of each run; a fraction in percent with one decimal.

    Raises:
        RunError: If runs were tested on different data.
    """
    for run in runs:
        if run.dataset != runs[0].dataset:
            raise RunError(
                f"{runs[0].name} was tested on {runs[0].dataset} and {run.name} on {run.dataset}; scores of different "
                "data do not compare."
            )
    rows: list[Row] = []
    for key, unit in runs[0].units.items():
        if all(key in run.values for run in runs):
            task, metric = key
            rows.append((task, metric, [number(run.values[key], unit) for run in runs]))
    return rows


def side_by_side_table(runs: Sequence[Scores], rows: Sequence[Row]) -> "Table":
    """The table for the terminal, a column per run."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Runs on {runs[0].dataset}", title_justify="left", header_style="bold")
    table.add_column("task", overflow="fold")
    table.add_column("metric", overflow="fold")
    for run in runs:
        table.add_column(Text(run.name), justify="right", overflow="fold")
    for task, metric, scores in rows:
        table.add_row(Text(task), Text(metric), *(Text(score) for score in scores))
    return table


def write_side_by_side(folder: Path, runs: Sequence[Scores], rows: Sequence[Row]) -> Path:
    """Write runs.md; returns its path."""
    names = [markdown(run.name) for run in runs]
    lines = [f"| Task | Metric | {' | '.join(names)} |", f"|---|---|{'--:|' * len(runs)}"]
    for task, metric, scores in rows:
        lines.append(f"| {markdown(task)} | {markdown(metric)} | {' | '.join(scores)} |")
    return write_file(folder / "runs.md", "\n".join(lines) + "\n")
