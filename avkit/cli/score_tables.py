# SPDX-License-Identifier: Apache-2.0
"""Figures of a file of predictions as a table of 80 columns, JSON, CSV and LaTeX."""

import csv
import io
import json
from typing import TYPE_CHECKING

from avkit.leaderboard.printed import Printed
from avkit.leaderboard.records import Figure
from avkit.report.latex import latex_escape, latex_number
from avkit.report.numbers import MISSING, interval, number
from avkit.report.tables import Column, make_table, open_console
from avkit.scoring.result import Score, describe_absent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from avkit.cli.score import Judged

#: Letters of the name of a figure.
_METRIC_WIDTH = 26


def print_score(judged: "Judged") -> None:
    """Print figures, coverage, faults and the verdict."""
    console = open_console()
    for line in _heading(judged.score):
        _print(console, line)
    console.print(_table(judged))
    for line in _faults(judged.score):
        _print(console, line)
    for note in judged.score.notes:
        _print(console, f"note: {note}")
    _print(console, verdict_line(judged))


def _print(console: "Console", line: str) -> None:
    if line:
        console.print(line, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def _heading(score: Score) -> list[str]:
    """What was scored, and how much of it."""
    release = f", release {score.release}" if score.release else ""
    place = f"{score.task.name} on {score.dataset}, split {score.split}{release}"
    official = "samples of the list" if score.official_n is None else "official samples"
    return [place, f"{score.coverage} {official}", describe_absent(score)]


def _faults(score: Score) -> list[str]:
    lines = [f"fault: {fault}" for fault in score.faults]
    if score.more_faults:
        lines.append(f"fault: and {score.more_faults} more.")
    return lines


def verdict_line(judged: "Judged") -> str:
    """The published row and the verdict on the file beside it."""
    claim = judged.claim
    if claim is None or judged.verdict is None:
        return "no published row to compare with"
    words = "against" if judged.aimed else "beside the best published row,"
    return f"{words} {claim.name} ({claim.source}): {judged.verdict}"


def _table(judged: "Judged") -> "Table":
    from rich.text import Text

    columns = [Column("figure", width=_METRIC_WIDTH), Column("value", right=True), Column("95 %", right=True)]
    columns += [Column("n", right=True), Column("counted"), Column("published", right=True)]
    table = make_table(columns)
    for name, row in judged.score.rows.items():
        figure = judged.record.figures.get(name)
        cells = [name, *(_cells(figure) if figure else ("not run", "")), f"{row.n:,}", row.counted]
        table.add_row(*(Text(cell) for cell in [*cells, _published(judged, name)]))
    return table


def _cells(figure: Figure) -> tuple[str, str]:
    """A figure, shares in percent with two decimals as tables print them, and its interval."""
    value = f"{100 * figure.value:.2f}" if figure.unit == "fraction" else number(figure.value, figure.unit)
    return value, interval(figure.low, figure.high, figure.unit)


def _published(judged: "Judged", name: str) -> str:
    printed = _printed(judged, name)
    return MISSING if printed is None else printed.text


def _printed(judged: "Judged", name: str) -> Printed | None:
    return None if judged.claim is None else judged.claim.figures.get(name)


def json_text(judged: "Judged") -> str:
    """All that is known; values are fractions where they are shares."""
    score = judged.score
    record = judged.record
    verdict = judged.verdict
    figures = {}
    for name, figure in record.figures.items():
        printed = _printed(judged, name)
        published = None if printed is None else {"printed": printed.text, "scale": printed.scale}
        figures[name] = {
            "value": figure.value,
            "low": figure.low,
            "high": figure.high,
            "n": figure.n,
            "counted": figure.counted,
            "unit": figure.unit,
            "published": published,
        }
    content = {
        "task": record.task,
        "dataset": record.dataset,
        "release": record.release,
        "split": record.split,
        "format": score.format,
        "n": score.n,
        "listed": score.listed,
        "official_n": score.official_n,
        "complete": score.complete,
        "absent": score.absent,
        "figures": figures,
        "protocol": dict(record.protocol),
        "hashes": dict(record.hashes),
        "faults": score.faults,
        "more_faults": score.more_faults,
        "notes": score.notes,
        "published_row": None if judged.claim is None else f"{judged.claim.name} ({judged.claim.source})",
        "verdict": None if verdict is None else verdict.word,
        "reasons": [] if verdict is None else list(verdict.reasons),
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def csv_text(judged: "Judged") -> str:
    """A line per figure."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    header = "task,dataset,release,split,metric,value,low,high,n,counted,samples,official_samples,published,verdict"
    writer.writerow(header.split(","))
    record = judged.record
    word = "" if judged.verdict is None else judged.verdict.word
    for name, figure in record.figures.items():
        printed = _printed(judged, name)
        place = [record.task, record.dataset, record.release, record.split, name]
        values = [figure.value, figure.low, figure.high, figure.n, figure.counted, record.n, record.official_n]
        writer.writerow([*place, *values, "" if printed is None else printed.text, word])
    return file.getvalue()


def latex_text(judged: "Judged") -> str:
    """A booktabs table."""
    record = judged.record
    name = "" if judged.claim is None else f" & {latex_escape(judged.claim.name)}"
    lines = [
        f"% {record.task} on {record.dataset}, split {record.split} {record.release}: {judged.score.coverage} samples",
        rf"\begin{{tabular}}{{l{'r' * (3 if name else 2)}}}",
        r"\toprule",
        rf"Metric & {latex_escape(record.method)} & 95\,\%{name} \\",
        r"\midrule",
    ]
    for metric, figure in record.figures.items():
        cells = [latex_escape(metric), *(latex_number(cell.replace(MISSING, "--")) for cell in _cells(figure))]
        if name:
            cells.append(_published(judged, metric).replace(MISSING, "--"))
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
