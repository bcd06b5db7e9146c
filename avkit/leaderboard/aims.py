# SPDX-License-Identifier: Apache-2.0
"""Which published rows an experiment aims at: those of the table that it names, with its figures."""

import re
from collections.abc import Iterable
from decimal import Decimal
from functools import cache

from avkit.leaderboard.agreement import method_name
from avkit.leaderboard.experiments import Experiment
from avkit.leaderboard.metric_names import board_of, our_metric
from avkit.leaderboard.published import DATA, PublishedRow, PublishedValue
from avkit.reading.text import read_text, table_rows

#: How published tables name the methods of our systems.
_OUR_METHODS = (
    "actionformer",
    "av-unified",
    "avel",
    "avsbench",  # the paper of TPAVI
    "avsegformer",
    "avst",
    "ccnet",
    "davel (unav)",
    "ez-vsl",
    "han",
    "lvs",
    "mm-pyramid",
    "psp",
    "pstp-net",
    "ssuformer",
    "st-avqa",  # AVST
    "tadtr",
    "tpavi",
    "tspm",
    "uniav",
)
#: Papers whose own rows are all of our systems.
_OUR_PAPERS = ("av-unified", "ccnet", "ra-ssu", "tspm")


def is_implemented(row: PublishedRow) -> bool:
    """Whether a row is of a method that is one of our systems, whole or without a part."""
    first = row.first
    if first.source in _OUR_PAPERS and first.reported_by == "authors":
        return True
    method = first.note.removeprefix("short for ") if first.note.startswith("short for ") else first.method
    return any(re.match(rf"{re.escape(name)}(?!\w)", method.lower()) for name in _OUR_METHODS)


@cache
def read_reasons() -> dict[str, str]:
    """Why rows of methods that are implemented have no experiment, by row.

    Raises:
        FileError: If the file is damaged.
    """
    path = DATA / "no_experiment.csv"
    return {cells[0]: cells[1] for line, cells in table_rows(read_text(path), str(path)) if line > 1}


def aims_of(experiment: Experiment, rows: Iterable[PublishedRow]) -> list[PublishedRow]:
    """The published rows of an experiment: one, or several where a paper prints its figures in several places.

    Args:
        experiment: The experiment.
        rows: All published rows.
    """
    source, table = _place(experiment)
    release = str(experiment.options.get("data.release") or "")
    boards = (board_of(experiment.figures_of, release), experiment.figures_of, experiment.dataset)
    on_board = [row for row in rows if row.first.dataset in boards and _has_figures(row, experiment)]
    printed = [row for row in on_board if _words(row.first.source) in source and row.first.table in (table, "")]
    named = [row for row in printed or on_board if _is_named(row, experiment)]
    return named or printed


def _is_named(row: PublishedRow, experiment: Experiment) -> bool:
    """Whether a row is of the experiment's method, as far as their names say so."""
    method = method_name(row.first)
    return method in _words(experiment.paper) or method.endswith(_words(experiment.row) or method)


def _place(experiment: Experiment) -> tuple[str, str]:
    """The source that an experiment names, as letters and digits, and its table."""
    before, comma, table = experiment.table.rpartition(", ")
    if comma and not before.lower().startswith("readme"):
        return _words(before), table
    return _words(experiment.paper), experiment.table


def _words(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _has_figures(row: PublishedRow, experiment: Experiment) -> bool:
    """Whether all figures that a row and an experiment have in common are the same, and there are any."""
    common = 0
    for name, number in experiment.published.items():
        value = _value(row, our_metric(row.first.task, row.first.dataset, name) or name)
        if value is None:
            continue
        if not _is_number(value, number):
            return False
        common += 1
    return common > 0


def _value(row: PublishedRow, metric: str) -> PublishedValue | None:
    """A row's value of a metric by our name, or by the published one for what reports do not have."""
    for value in row.values:
        if metric in (value.metric, our_metric(value.task, value.dataset, value.metric)):
            return value
    return None


def _is_number(value: PublishedValue, number: str) -> bool:
    """Whether a printed value is a number that was written without its last zeros."""
    digits = re.match(r"-?\d+(?:\.\d+)?", value.printed)
    return digits is not None and Decimal(digits[0]) == Decimal(number)
