# SPDX-License-Identifier: Apache-2.0
"""A comparison as table for the terminal, and as CSV, LaTeX, Markdown, HTML and JSON."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.answers.encoding import Record
from avkit.files import write_file
from avkit.report.compare import Cell, CompareRow, Comparison
from avkit.report.evidence import Difference
from avkit.report.files import render, strict_json
from avkit.report.latex import latex_escape, latex_number
from avkit.report.numbers import MISSING, interval, number
from avkit.report.tables import Column, below, make_table, short_name

if TYPE_CHECKING:
    from rich.table import Table

#: What the columns of tables mean.
LEGEND = (
    "Fractions in percent, differences in points. After the value of several seeds the standard deviation over them. "
    "95 %: interval over clips. The difference is from the first run; its interval and p (two-sided, not corrected for "
    "the number of comparisons) are those of a paired bootstrap over clips, widened by the spread over seeds where "
    "both have several. A star marks a difference whose interval does not reach 0."
)

_CSV_HEADER = (
    "task,metric,unit,run,folders,seeds,n,counted,value,sd,low,high,best,difference,difference_low,difference_high,p,"
    "clips,note"
)


def cell_texts(cell: Cell | None, unit: str) -> dict[str, str]:
    """A score as text: `value`, `interval`, `n`, `counted`, `difference`, `difference_interval` and `p`."""
    if cell is None:
        empty = dict.fromkeys(("interval", "counted", "difference", "difference_interval", "p"), "")
        return {**empty, "value": "not run", "n": MISSING}
    spread = "" if cell.deviation is None else f" ± {number(cell.deviation, unit)}"
    texts = {
        "value": number(cell.value, unit) + spread,
        "interval": interval(cell.low, cell.high, unit),
        "n": f"{cell.n:,}" if cell.n else MISSING,
        "counted": cell.counted if cell.n else "",
    }
    return texts | _difference_texts(cell.difference, unit)


def _difference_texts(result: Difference | None, unit: str) -> dict[str, str]:
    if result is None:
        return {"difference": "", "difference_interval": "", "p": ""}
    star = "*" if result.verdict else ""
    return {
        "difference": number(result.value, unit, sign=True) + star,
        "difference_interval": interval(result.low, result.high, unit, sign=True) or f"not tested: {result.why}",
        "p": "" if result.p is None else _p_text(result.p),
    }


def _p_text(p: float) -> str:
    return "<0.01" if p < 0.01 else f"{p:.2f}"


def compare_tables(comparison: Comparison, *, narrow: bool) -> "list[Table]":
    """A table per task, a line per metric and run.

    Args:
        comparison: What to show.
        narrow: Put intervals on lines of their own, for a terminal.
    """
    tables = []
    for task, test in comparison.tests.items():
        title = f"{short_name(task)}: {test}" if test else short_name(task)
        table = make_table(_columns(narrow), title)
        for row in comparison.rows:
            if row.task == task:
                _add_lines(table, comparison, row, narrow=narrow)
        tables.append(table)
    return tables


def _columns(narrow: bool) -> list[Column]:
    """Columns of a table."""
    if narrow:
        widths = {"n": 9, "value": 11, "difference": 14, "p": 5}
        names = [Column("metric", width=12), Column("run", width=14)]
        return [*names, *(Column(name, right=True, width=width) for name, width in widths.items())]
    names = [Column("metric"), Column("run"), Column("n", right=True), Column("counted")]
    headings = ("value", "95 %", "difference", "95 %", "p")
    return [*names, *(Column(heading, right=True) for heading in headings)]


def _add_lines(table: "Table", comparison: Comparison, row: CompareRow, *, narrow: bool) -> None:
    """Add a metric's lines, one per variant."""
    from rich.text import Text

    for index, (variant, cell) in enumerate(zip(comparison.variants, row.cells, strict=True)):
        texts = cell_texts(cell, row.unit)
        value = Text(texts["value"], style="bold" if cell is not None and cell.best else "")
        metric = row.metric if index == 0 or not narrow else ""
        if narrow:
            not_tested = texts["difference_interval"].startswith("not tested")
            detail = "not tested" if not_tested else texts["difference_interval"]
            table.add_row(
                Text(metric),
                Text(variant.label),
                below(Text(texts["n"]), texts["counted"]),
                below(value, texts["interval"]),
                below(Text(texts["difference"]), detail),
                Text(texts["p"]),
            )
        else:
            cells = [texts[name] for name in ("difference", "difference_interval", "p")]
            table.add_row(
                *(Text(text) for text in (metric, variant.label, texts["n"], texts["counted"])),
                value,
                *(Text(text) for text in (texts["interval"], *cells)),
            )


def write_comparison(folder: Path, comparison: Comparison, latex: Comparison) -> dict[str, Path]:
    """Write compare.csv, compare.tex, compare.md, compare.json and compare.html.

    Args:
        folder: Where; made when absent.
        comparison: All scores.
        latex: Those of the LaTeX table, which had better fit a page.

    Returns:
        Paths by the ending of the file.
    """
    values: Record = {"comparison": comparison, "groups": _groups(comparison), "legend": LEGEND}
    contents = {
        "csv": csv_text(comparison),
        "tex": latex_text(latex),
        "json": strict_json(_record(comparison)),
        "md": render("compare.md.j2", **values),
        "html": render("compare.html.j2", **values),
    }
    return {ending: write_file(folder / f"compare.{ending}", content) for ending, content in contents.items()}


def _groups(comparison: Comparison) -> list[Record]:
    """By task what templates show."""
    groups = []
    for task, test in comparison.tests.items():
        rows = []
        for row in comparison.rows:
            if row.task == task:
                lines = zip(comparison.variants, row.cells, strict=True)
                rows.append((row, [(variant, cell, cell_texts(cell, row.unit)) for variant, cell in lines]))
        groups.append({"task": task, "test": test, "rows": rows})
    return groups


def _record(comparison: Comparison) -> Record:
    """The comparison as JSON holds it; scores as measured, never percent."""
    variants = []
    for variant in comparison.variants:
        runs = [{"name": run.name, "seed": run.seed} for run in variant.runs]
        variants.append({"label": variant.label, "runs": runs})
    return {"variants": variants, "tests": comparison.tests, "rows": comparison.rows, "notes": comparison.notes}


def csv_text(comparison: Comparison) -> str:
    """A line per metric and variant; scores as measured, never percent."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV_HEADER.split(","))
    for row in comparison.rows:
        for variant, cell in zip(comparison.variants, row.cells, strict=True):
            if cell is None:
                continue
            folders = " ".join(run.name for run in variant.runs)
            seeds = " ".join(str(run.seed) for run in variant.runs)
            scores = [cell.n or None, cell.counted, cell.value, cell.deviation, cell.low, cell.high, int(cell.best)]
            result = cell.difference
            tested: list[object] = [None] * 6
            if result is not None:
                tested = [result.value, result.low, result.high, result.p, result.clips or None, result.why]
            writer.writerow([row.task, row.metric, row.unit, variant.label, folders, seeds, *scores, *tested])
    return file.getvalue()


def latex_text(comparison: Comparison) -> str:
    """A table for a paper that loads booktabs: a column per variant, the best score of a row in bold."""
    columns = "ll" + "r" * len(comparison.variants)
    labels = " & ".join(latex_escape(variant.label) for variant in comparison.variants)
    lines = [
        "% " + LEGEND,
        "% Bold: the highest value of the row. Needs \\usepackage{booktabs}.",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        f"Task & Metric & {labels} \\\\",
    ]
    previous = ""
    for row in comparison.rows:
        if row.task != previous:
            lines.append("\\midrule")
        task = latex_escape(short_name(row.task)) if row.task != previous else ""
        previous = row.task
        cells = " & ".join(_latex_cell(cell, row.unit) for cell in row.cells)
        lines.append(f"{task} & {latex_escape(row.metric)} & {cells} \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _latex_cell(cell: Cell | None, unit: str) -> str:
    """A score with its spread or else its interval."""
    if cell is None:
        return "--"
    value = latex_number(number(cell.value, unit))
    if cell.best:
        value = f"\\textbf{{{value}}}"
    if cell.difference is not None and cell.difference.verdict:
        value += "$^{*}$"
    if cell.deviation is not None:
        return f"{value} $\\pm$ {latex_number(number(cell.deviation, unit))}"
    ends = interval(cell.low, cell.high, unit).replace(MISSING, "--")
    return f"{value} {{\\scriptsize [{latex_number(ends)}]}}" if ends else value
