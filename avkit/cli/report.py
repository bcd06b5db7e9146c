# SPDX-License-Identifier: Apache-2.0
"""`avkit report`: what joint training brings, runs of one task compared with runs of several."""

import argparse
from pathlib import Path

from avkit.cli.trust import add_switches
from avkit.errors import RunError


def parser() -> argparse.ArgumentParser:
    """The options of `avkit report`."""
    p = argparse.ArgumentParser(
        prog="avkit report",
        description="What joint training brings: joint minus single for each task and metric, with its interval and "
        "its spread over seeds. Name runs of several tasks and runs of one task each, all tested. 'avkit compare' "
        "compares any other runs.",
    )
    p.add_argument("runs", nargs="+", type=Path, help="run folders, such as runs/*")
    p.add_argument("--out", type=Path, default=Path("transfer"), help="folder of transfer.html")
    p.add_argument("--all", action="store_true", help="print every metric, not only those that tasks are judged by")
    form = p.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print the table as CSV, scores as measured")
    form.add_argument("--latex", action="store_true", help="print the table as LaTeX (booktabs), the better in bold")
    add_switches(p)
    return p


def run(args: list[str]) -> int:
    """Print and write the transfer table; `args` are the words after `avkit report`."""
    options = parser().parse_args(args)
    from avkit.batch import task_of
    from avkit.cli.tested_runs import read_scores
    from avkit.report import open_console
    from avkit.report.scores import name_alike
    from avkit.report.transfer import compare, conclusion, transfer_table, write_transfer
    from avkit.report.transfer_files import csv_text, latex_text
    from avkit.tasks import find_task

    runs = name_alike([read_scores(path) for path in options.runs])
    if len(runs) > 1 and len({tuple(sorted(run.tasks)) for run in runs}) == 1:
        names = " ".join(run.name for run in runs)
        raise RunError(f"All runs are of {', '.join(runs[0].tasks)}. Compare them with: avkit compare {names}")
    report = compare(runs)
    path = write_transfer(options.out, report)
    sentences = conclusion(report)
    if not options.all:
        report.rows = [row for row in report.rows if row.metric in find_task(task_of(row.task)).headline]
    if options.csv or options.latex:
        print(csv_text(report) if options.csv else latex_text(report), end="")
        return 0
    console = open_console()
    console.print(transfer_table(report))
    for note in [*report.notes, *sentences]:
        console.print(note, highlight=False, markup=False)
    console.print(f"report: {path}", highlight=False, markup=False, soft_wrap=True)
    return 0
