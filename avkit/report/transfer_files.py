# SPDX-License-Identifier: Apache-2.0
"""What joint training brings, as CSV and LaTeX."""

import csv
import io
import statistics

from avkit.report.latex import latex_escape, latex_number
from avkit.report.numbers import number
from avkit.report.transfer import Transfer, TransferReport, cells

_CSV_HEADER = (
    "task,metric,unit,joint,joint_sd,joint_seeds,single,single_sd,single_seeds,difference,difference_sd,"
    "difference_low,difference_high,p,clips"
)


def csv_text(report: TransferReport) -> str:
    """A line per metric; scores as measured, never percent."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV_HEADER.split(","))
    for row in report.rows:
        scores: list[object] = []
        for values in (row.joint, row.single):
            scores += [statistics.fmean(values.values()), _deviation(values), " ".join(map(str, values))]
        tested = row.tested
        differences = [row.difference, row.spread, tested.low, tested.high, tested.p, tested.clips or None]
        writer.writerow([row.task, row.metric, row.unit, *scores, *differences])
    return file.getvalue()


def latex_text(report: TransferReport) -> str:
    """A table for a paper that loads booktabs: joint, single and their difference, the better of the two in bold."""
    lines = [
        "% Fractions in percent, differences in points; after a mean the standard deviation over seeds.",
        "% Bold: the higher mean of the row. Needs \\usepackage{booktabs}.",
        "\\begin{tabular}{llrrr}",
        "\\toprule",
        "Task & Metric & Joint & Single & Difference \\\\",
        "\\midrule",
    ]
    previous = ""
    for row in report.rows:
        task = latex_escape(row.task) if row.task != previous else ""
        previous = row.task
        joint = _latex_score(row, row.joint, best=row.difference >= 0)
        single = _latex_score(row, row.single, best=row.difference <= 0)
        difference = latex_number(cells(row)["difference"])
        lines.append(f"{task} & {latex_escape(row.metric)} & {joint} & {single} & {difference} \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _latex_score(row: Transfer, values: dict[int, float], *, best: bool) -> str:
    """A mean with its spread over seeds."""
    text = latex_number(number(statistics.fmean(values.values()), row.unit))
    text = f"\\textbf{{{text}}}" if best else text
    deviation = _deviation(values)
    return text if deviation is None else f"{text} $\\pm$ {number(deviation, row.unit)}"


def _deviation(values: dict[int, float]) -> float | None:
    """Standard deviation over seeds; None for one."""
    return statistics.stdev(values.values()) if len(values) > 1 else None
