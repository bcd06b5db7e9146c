# SPDX-License-Identifier: Apache-2.0
"""Tables for the terminal: aligned by spaces, without lines, readable at 80 columns, a row per line where piped."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from avkit.report.rows import Row, group_rows, row_cells

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from avkit.report.efficiency import Efficiency

#: Columns of a line where the output is no terminal: lines are as long as they must be.
_NO_LIMIT = 10_000
#: Letters of a score's column: an interval such as 39.3-51.4.
_SCORE_WIDTH = 9
#: Letters of the names of metrics.
_METRIC_WIDTH = 14
#: Scores that the terminal shows, with their headings.
_SHOWN = {"value": "value", "baseline": "baseline", "silence": "silent sound", "swapped": "other sound"}


@dataclass
class Column:
    """A column of a table.

    Attributes:
        heading: Its heading.
        right: Whether it holds numbers, which stand to the right and are never broken.
        width: Letters, so that tables below each other have their columns in the same places; 0 for what it needs. A
            column of numbers becomes wider where it must.
    """

    heading: str
    right: bool = False
    width: int = 0


def open_console() -> "Console":
    """Where tables are printed: the terminal at its own width, or a file or pipe with lines of any length."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=_NO_LIMIT)


def make_table(columns: Sequence[Column], title: str = "", *, narrow: bool = False) -> "Table":
    """An empty table; texts that are too long are broken between words.

    Args:
        columns: Its columns.
        title: A line above it, or nothing.
        narrow: Give long headings of numbers two lines, so that names beside them need not be broken.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title) if title else None,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for column in columns:
        table.add_column(
            Text(_in_two_lines(column.heading) if narrow and column.right else column.heading),
            justify="right" if column.right else "left",
            no_wrap=column.right,
            overflow="fold",
            min_width=column.width or None,
            max_width=None if column.right else column.width or None,
            vertical="top",
        )
    return table


def _in_two_lines(heading: str) -> str:
    """A heading of several words, broken where its longer line is shortest."""
    words = heading.split()
    broken = [f"{' '.join(words[:k])}\n{' '.join(words[k:])}" for k in range(1, len(words))]
    return min(broken, key=lambda text: max(map(len, text.splitlines())), default=heading)


def print_scores(console: "Console", rows: Sequence[Row]) -> None:
    """Print all scores: in a terminal a table per task, with each interval below its score; else a line per score."""
    if not rows:
        return
    if not console.is_terminal:
        console.print(_flat_table(rows))
        return
    for group in group_rows(rows):
        console.print(_task_table(group))
        console.print()
    console.print("Fractions are in percent; below each score its 95 % interval.", style="dim", highlight=False)


def efficiency_table(rows: Sequence["Efficiency"]) -> "Table":
    """What answers cost, as table for the terminal; the device stands in its title."""
    from rich.text import Text

    devices = " and ".join(dict.fromkeys(row.device for row in rows))
    headings = [heading for heading in (rows[0].cells() if rows else []) if heading != "Device"]
    columns = [Column("task"), *(Column(heading, right=True) for heading in headings)]
    table = make_table(columns, f"Efficiency, one clip at a time on {devices}")
    for row in rows:
        cells = row.cells()
        table.add_row(Text(short_name(row.task)), *(Text(cells[heading]) for heading in headings))
    return table


def short_name(name: str) -> str:
    """The name of a task, dataset or both in a narrow table: of `package.module:Class`, from outside, the class."""
    return "/".join(part.rpartition(":")[2] for part in name.split("/"))


def _task_table(rows: Sequence[Row]) -> "Table":
    """The scores of one task, each with its interval on the line below."""
    from rich.text import Text

    first = rows[0]
    title = f"{short_name(first.task)} on {short_name(first.dataset)} {first.split}"
    if first.of:
        title += f", {row_cells(first)['clips']} samples"
    columns = [Column("metric", width=_METRIC_WIDTH), Column("n", right=True, width=_SCORE_WIDTH)]
    columns += [Column(_two_lines(heading), right=True, width=_SCORE_WIDTH) for heading in _SHOWN.values()]
    columns.insert(4, Column(_two_lines("error removed"), right=True, width=8))
    table = make_table(columns, title)
    for row in rows:
        cells = row_cells(row)
        texts = [_with_interval(cells, name, bold=name == "value") for name in _SHOWN]
        removed = Text(cells["error_removed"], style={"good": "green", "bad": "red", "": ""}[row.verdict])
        counted = below(Text(cells["n"]), cells["counted"])
        table.add_row(Text(row.metric), counted, texts[0], texts[1], removed, *texts[2:])
    return table


def _two_lines(heading: str) -> str:
    """A heading with its words below each other."""
    return heading.replace(" ", "\n")


def _with_interval(cells: dict[str, str], name: str, *, bold: bool) -> "Text":
    """A score, and below it its interval."""
    from rich.text import Text

    missing = cells[name] == "not run"
    style = "bold" if bold and not missing else ""
    return below(Text(cells[name], style=style), cells[f"{name}_interval"])


def below(text: "Text", detail: str) -> "Text":
    """A text with a detail on a line of its own."""
    return text.append(f"\n{detail}", style="not bold dim") if detail else text


def _flat_table(rows: Sequence[Row]) -> "Table":
    """A line per score with all that the terminal shows."""
    from rich.text import Text

    columns = [Column("task"), Column("data"), Column("split"), Column("metric"), Column("n", right=True)]
    columns.append(Column("counted"))
    for heading in _SHOWN.values():
        columns += [Column(heading, right=True), Column("95 %", right=True)]
    columns += [Column("error removed", right=True), Column("samples", right=True)]
    table = make_table(columns)
    for row in rows:
        cells = row_cells(row)
        texts = [row.task, row.dataset, row.split, row.metric, cells["n"], cells["counted"]]
        for name in _SHOWN:
            texts += [cells[name], cells[f"{name}_interval"]]
        texts += [cells["error_removed"], cells["clips"]]
        table.add_row(*(Text(text) for text in texts))
    return table
