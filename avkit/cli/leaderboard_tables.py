# SPDX-License-Identifier: Apache-2.0
"""Boards as tables for the terminal."""

from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from textwrap import wrap
from typing import TYPE_CHECKING

from avkit.leaderboard.board_rows import BoardRow
from avkit.leaderboard.boards import DOUBTFUL, Board, Setting
from avkit.report.numbers import MISSING
from avkit.report.tables import Column, below, make_table, open_console

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

#: Figures of a row that fit 80 columns.
_FIGURES = 4
#: Letters of columns in a terminal.
_METHOD_WIDTH = 26
_WORD_WIDTH = 11
_FIGURE_WIDTH = 8
#: Colours of words.
_STYLES = {
    "impossible": "red",
    "misprint": "yellow",
    "disputed": "yellow",
    "identical": "yellow",
    "reproduced": "green",
    "within": "green",
    "within, with differences": "green",
    "above": "magenta",
    "below": "magenta",
    "outside": "magenta",
}
_LEGEND = (
    "Figures as printed; bold or *: the best with the same features, impossible rows left out. "
    "--html shows reasons, sources and hashes."
)


def print_overview(boards: Sequence[Board]) -> None:
    """Print for each task and dataset the best row that was claimed and the best that was measured."""
    from rich.text import Text

    console = open_console()
    narrow = console.is_terminal
    columns = [Column("task"), Column("board"), Column("metric")]
    if narrow:
        columns += [Column("best"), Column("", right=True), Column("by")]
    else:
        columns += [Column("claimed", right=True), Column("by"), Column("measured", right=True), Column("by")]
    table = make_table(columns)
    doubtful = 0
    for board in boards:
        for task in board.tasks:
            settings = [setting for setting in board.settings if setting.terms.task == task]
            metric = settings[0].metrics[0]
            doubtful += sum(row.word in DOUBTFUL for setting in settings for row in setting.of("comparison"))
            claimed, measured = (_best(settings, metric, kind) for kind in ("comparison", "measured"))
            if not narrow:
                table.add_row(*(Text(cell) for cell in (task, board.name, metric, *claimed, *measured)))
                continue
            table.add_row(*map(Text, (task, board.name.replace("+", "+\n"), metric, "claimed", *claimed)))
            if measured[0] != MISSING:
                table.add_row(*map(Text, ("", "", "", "measured", *measured)))
    console.print(table)
    notes = ["Best rows of a board need not be comparable: `avkit leaderboard BOARD` shows on which terms."]
    if doubtful:
        notes.append(f"{doubtful} claims are left out, since their figures contradict each other.")
    _print_notes(notes)


def _best(settings: Sequence[Setting], metric: str, kind: str) -> tuple[str, str]:
    """The best figure of a kind of rows, and the method with its year."""
    rows = [row for setting in settings for row in setting.rows if row.kind == kind and row.word not in DOUBTFUL]
    rows = [row for row in rows if metric in row.cells and row.cells[metric].value is not None]
    if not rows:
        return MISSING, ""
    best = min(rows, key=lambda row: row.sort_key([metric]))
    year = f", {best.year}" if best.year is not None else ""
    return _figure(best, metric), best.method + year


def print_board(board: Board, metric: str | None = None) -> None:
    """Print a board, a table for each protocol in which features stand apart.

    Args:
        board: The board.
        metric: The one metric to show; None for those that fit.
    """
    console = open_console()
    console.print(board.title, style="bold", highlight=False)
    for protocol, group in groupby(board.settings, key=lambda setting: setting.protocol):
        settings = list(group)
        console.print()
        console.print(_table(protocol, settings, narrow=console.is_terminal, single=metric is not None))
    _print_notes(_faults(board))
    notes = [_LEGEND]
    if board.hidden:
        notes.append(f"{board.hidden} rows of ablations and costs are left out; --ablations shows them.")
    _print_notes(notes)


def _print_notes(notes: Sequence[str]) -> None:
    if not notes:
        return
    console = open_console()
    console.print()
    for note in notes:
        console.print(note, style="dim", highlight=False, markup=False, soft_wrap=not console.is_terminal)


def _table(protocol: str, settings: Sequence[Setting], *, narrow: bool, single: bool) -> "Table":
    """The rows of one protocol, under the features that they were measured with."""
    metrics = list(dict.fromkeys(metric for setting in settings for metric in setting.metrics))
    if single:
        metrics = metrics[:1]
    elif narrow:
        metrics = metrics[:_FIGURES]
    columns = [Column("method", width=_METHOD_WIDTH if narrow else 0), Column("year", right=True)]
    columns += [Column(_heading(metric, narrow=narrow), right=True) for metric in metrics]
    columns.append(Column("verdict", width=_WORD_WIDTH if narrow else 0))
    if not narrow:
        columns += [Column("kind"), Column("features"), Column("source")]
    table = make_table(columns, protocol)
    for setting in settings:
        _add_rows(table, setting, metrics, narrow=narrow)
    return table


def _heading(metric: str, *, narrow: bool) -> str:
    """A metric's name, in a terminal with its words below each other."""
    if not narrow:
        return metric
    return metric.replace(" ", "\n").replace("/", "/\n").replace("Audio-", "Audio-\n")


def _add_rows(table: "Table", setting: Setting, metrics: Sequence[str], *, narrow: bool) -> None:
    from rich.text import Text

    if narrow and setting.features:
        table.add_row(Text(setting.features, style="italic dim"))
    for row in setting.rows:
        kind = "" if row.kind in ("comparison", "measured") else f" ({row.kind})"
        figures = [_figure_text(row, metric, setting, narrow=narrow) for metric in metrics]
        word = Text(row.word, style=_STYLES.get(row.word, ""))
        year = Text("" if row.year is None else str(row.year))
        if narrow:
            name = Text(row.method + kind, style="bold" if row.records else "")
            table.add_row(below(name, row.place), year, *figures, word)
        else:
            features = Text(setting.features)
            table.add_row(Text(row.method), year, *figures, word, Text(row.kind), features, Text(row.place))


def _figure_text(row: BoardRow, metric: str, setting: Setting, *, narrow: bool) -> "Text":
    """A figure; the best of its terms in bold, or with a star where the output has no bold letters."""
    from rich.text import Text

    best = setting.is_best(row, metric)
    text = _figure(row, metric)
    if not narrow:
        return Text(f"{text}*" if best else text)
    lines = [wrap(part, _FIGURE_WIDTH) for part in text.replace(" ± ", "\n± ").split("\n")]
    return Text("\n".join(chain.from_iterable(lines)), style="bold" if best else "")


def _figure(row: BoardRow, metric: str) -> str:
    cell = row.cells.get(metric)
    if cell is None:
        return MISSING
    return f"{cell.text} ± {cell.spread}" if cell.spread else cell.text


def _faults(board: Board) -> list[str]:
    """What makes rows doubtful, a line each."""
    return [f"{row.word}: {row.method}, {row.place}: {row.reasons[0]}" for row in _doubtful(board)]


def _doubtful(board: Board) -> Iterator[BoardRow]:
    for setting in board.settings:
        for row in setting.rows:
            if row.reasons and row.word in ("impossible", "misprint", "disputed", "identical"):
                yield row
