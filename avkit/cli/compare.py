# SPDX-License-Identifier: Apache-2.0
"""`avkit compare A B ...`: any tested runs, with intervals, spread over seeds and a paired test over clips."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.cli.trust import add_switches

if TYPE_CHECKING:
    from rich.console import Console

    from avkit.report.compare import Comparison, Variant


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit compare",
        description="Any tested runs: ablations, joint runs, heads, seeds. Runs that differ in nothing but their seed "
        "are one line, mean and standard deviation. Differences are from the first run. Writes CSV, LaTeX (booktabs), "
        "Markdown, HTML and JSON.",
    )
    p.add_argument("runs", nargs="+", help="run folders, or LABEL=RUN,RUN for the seeds of one")
    p.add_argument(
        "--out", type=Path, default=Path("comparison"), help="folder of compare.html, .csv, .tex, .md, .json"
    )
    p.add_argument("--all", action="store_true", help="every metric, not only those that tasks are judged by")
    p.add_argument(
        "--allow_different",
        action="store_true",
        help="show runs that were tested on other data, sizes or releases too, without differences",
    )
    form = p.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print the table as CSV, scores as measured")
    form.add_argument("--latex", action="store_true", help="print the table as LaTeX (booktabs), the best in bold")
    add_switches(p)
    return p


def run(args: list[str]) -> int:
    """Print and write the comparison; `args` are the words after `avkit compare`."""
    options = parser().parse_args(args)
    from avkit.report import open_console
    from avkit.report.compare import compare_variants
    from avkit.report.compare_files import csv_text, latex_text, write_comparison

    comparison = compare_variants(_variants(options.runs), allow_different=options.allow_different)
    shown = comparison if options.all else headlines(comparison)
    paths = write_comparison(options.out, comparison, shown)
    if options.csv or options.latex:
        print(csv_text(shown) if options.csv else latex_text(shown), end="")
        return 0
    console = open_console()
    print_comparison(console, shown)
    console.print(f"report: {paths['html']}", highlight=False, markup=False, soft_wrap=True)
    return 0


def print_comparison(console: "Console", comparison: "Comparison") -> None:
    """Print a table per task, and what a reader of them needs."""
    from avkit.report.compare_files import LEGEND, compare_tables

    for table in compare_tables(comparison, narrow=console.is_terminal):
        console.print(table)
        console.print()
    for note in [LEGEND, *comparison.notes]:
        console.print(note, highlight=False, markup=False, style="dim")


def _variants(words: Sequence[str]) -> "list[Variant]":
    """Runs by label where labels are given, the others by their options; in the order of the words."""
    from avkit.cli.tested_runs import read_scores
    from avkit.report.compare import Variant, group_seeds
    from avkit.report.scores import name_alike

    labelled: list[Variant] = []
    others = []
    for word in words:
        label, equals, runs = word.partition("=")
        if equals and label and not Path(word).exists():
            names = [name for name in runs.split(",") if name]
            if not names:
                raise ValueError(f"{word!r} names no run. Give LABEL=RUN or LABEL=RUN,RUN,...")
            labelled.append(Variant(label, [read_scores(Path(name)) for name in names]))
        else:
            others.append(read_scores(Path(word)))
    if labelled and others:
        raise ValueError(
            f"{others[0].name} has no label and {labelled[0].label} is one. Give a label to every run, or to none."
        )
    if not labelled:
        return group_seeds(name_alike(others))
    runs_alike = iter(name_alike([run for variant in labelled for run in variant.runs]))
    return [Variant(variant.label, [next(runs_alike) for _ in variant.runs]) for variant in labelled]


def headlines(comparison: "Comparison") -> "Comparison":
    """The metrics that tasks are judged by."""
    from avkit.batch import task_of
    from avkit.tasks import find_task

    rows = [row for row in comparison.rows if row.metric in find_task(task_of(row.task)).headline]
    return replace(comparison, rows=rows)
