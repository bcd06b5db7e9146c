# SPDX-License-Identifier: Apache-2.0
"""`avkit leaderboard`: published figures beside measured ones, with what is to be said of each."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.cli.trust import add_switches
from avkit.leaderboard.board_names import find_board
from avkit.leaderboard.boards import Board, Setting, make_boards
from avkit.leaderboard.metric_names import our_metric

if TYPE_CHECKING:
    from avkit.leaderboard.experiments import Experiment
    from avkit.leaderboard.measured import Measurement
    from avkit.leaderboard.records import Record
    from avkit.leaderboard.verdicts import Claim

#: Commands that write and check submitted results.
_RESULTS = ("add", "verify")
#: Folder of submitted results below the current one, and that of a checkout.
_FOLDERS = (Path("results"), Path(__file__).parents[2] / "results", Path(__file__).parents[1] / "results")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit leaderboard",
        description="Published figures beside measured ones: without a board all boards with their best rows, with one "
        "its rows, apart by the terms on which they were measured. `avkit leaderboard add RUN --as NAME` writes a "
        "result to submit, `avkit leaderboard verify FILE` scores its predictions again.",
    )
    p.add_argument("board", nargs="?", help="a dataset, such as music-avqa, or a task")
    p.add_argument("--setting", metavar="WORDS", help="only terms with these words, such as 'update' or 'one-peace'")
    p.add_argument("--metric", help="rank by this metric and show it first")
    p.add_argument("--ablations", action="store_true", help="rows of ablations and of costs too")
    p.add_argument("--mine", nargs="+", type=Path, default=[], metavar="RUN", help="tested runs to show among the rows")
    form = p.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="all rows with reasons and sources, for scripts")
    form.add_argument("--csv", action="store_true", help="a line per figure")
    form.add_argument("--latex", action="store_true", help="booktabs tables, the best in bold")
    form.add_argument(
        "--html", type=Path, metavar="OUT", help="write a page: a file for one board, a folder for several"
    )
    add_switches(p, trust=False)
    return p


def run(args: list[str]) -> int:
    """Print or write boards; `args` are the words after `avkit leaderboard`."""
    if args and args[0] in _RESULTS:
        return int(import_module("avkit.cli.leaderboard_results").run(args) or 0)
    options = parser().parse_args(args)
    boards = _all_boards(options)
    shown = [boards[name] for name in _names(options.board, boards)]
    if options.setting:
        shown = _with_setting(shown, options.setting)
    if options.metric:
        shown = _ranked_by(shown, options.metric)
    if options.html:
        from avkit.cli.leaderboard_pages import write_pages

        write_pages(options.html, shown, single=options.board is not None and len(shown) == 1)
        return 0
    if not options.ablations and not options.json and not options.csv:
        shown = [_without_ablations(board) for board in shown]
    _print(options, shown)
    return 0


def _print(options: argparse.Namespace, boards: Sequence[Board]) -> None:
    """Print boards in the form that was asked for."""
    if options.json or options.csv or options.latex:
        from avkit.cli.leaderboard_files import csv_text, json_text, latex_text

        if options.json:
            print(json_text(boards), end="")
        elif options.csv:
            print(csv_text(boards), end="")
        else:
            print(latex_text(boards), end="")
        return
    from avkit.cli.leaderboard_tables import print_board, print_overview

    if options.board is None or len(boards) > 1:
        print_overview(boards)
    else:
        print_board(boards[0], metric=options.metric)


def _all_boards(options: argparse.Namespace) -> dict[str, Board]:
    """All boards with submitted results and the user's own; experiments only where they are shown."""
    from avkit.leaderboard.measured import find_records, group_seeds, measured_rows

    measurements: list[Measurement] = group_seeds(find_records(_FOLDERS))
    measurements += group_seeds(_own_records(options.mine), mine=True)
    rows = measured_rows(measurements, _claim_for)
    return make_boards(rows, _aims() if options.html or options.json else None)


def _own_records(runs: Sequence[Path]) -> "list[Record]":
    """Records of the runs that the user named; those that were never tested are passed over where others were.

    Raises:
        FileError: If no run has records, or some are damaged or were edited.
    """
    from avkit.leaderboard.measured import has_records, read_run_records

    tested = [run for run in runs if has_records(run)]
    if tested:
        for run in runs:
            if run not in tested:
                print(f"avkit leaderboard: {run} has no records and is passed over", file=sys.stderr)
    return [record for run in tested or runs for record in read_run_records(run)]


def _claim_for(experiment: "Experiment", task: str) -> "Claim":
    """What an experiment claims, with all on which it was measured; imported where something is to be compared."""
    from avkit.cli.experiment_claims import claim_for

    return claim_for(experiment, task)


def _aims() -> dict[str, list[str]]:
    """By published row the ids of the experiments that aim at it."""
    from avkit.leaderboard.aims import aims_of
    from avkit.leaderboard.experiments import read_experiments
    from avkit.leaderboard.published import group_rows, read_published

    rows = group_rows(read_published())
    ids: dict[str, list[str]] = {}
    for experiment in read_experiments():
        for row in aims_of(experiment, rows):
            ids.setdefault(row.first.row, []).append(experiment.id)
    return ids


def _names(name: str | None, boards: Mapping[str, Board]) -> list[str]:
    """Names of the boards that are meant."""
    if name is None:
        return list(boards)
    tasks: dict[str, list[str]] = {}
    for board in boards.values():
        for task in board.tasks:
            tasks.setdefault(task, []).append(board.name)
    return find_board(name, boards, tasks)


def _with_setting(boards: Sequence[Board], words: str) -> list[Board]:
    """Boards with those settings alone whose titles have all words.

    Raises:
        ValueError: If no setting has them; lists the titles.
    """
    wanted = words.casefold().replace(",", " ").split()
    kept = []
    for board in boards:
        settings = [setting for setting in board.settings if _has_words(setting, wanted)]
        if settings:
            kept.append(replace(board, settings=tuple(settings)))
    if not kept:
        titles = "; ".join(setting.title for board in boards for setting in board.settings)
        raise ValueError(f"No setting has the words {words!r}. There are: {titles}.")
    return kept


def _has_words(setting: Setting, words: Sequence[str]) -> bool:
    return all(word in setting.title.casefold() for word in words)


def _ranked_by(boards: Sequence[Board], name: str) -> list[Board]:
    """Boards with the settings that have a metric, ranked by it.

    Raises:
        ValueError: If no setting has it; names the nearest.
    """
    kept = []
    for board in boards:
        settings = []
        for setting in board.settings:
            metric = _metric(setting, board.name, name)
            if metric is not None:
                settings.append(setting.ranked_by(metric))
        if settings:
            kept.append(replace(board, settings=tuple(settings)))
    if not kept:
        from avkit.errors import unknown_name

        raise unknown_name("metric", name, {metric for board in boards for metric in board.metrics})
    return kept


def _metric(setting: Setting, board: str, name: str) -> str | None:
    """A metric of a setting by a published name or ours, in any spelling; None if it has no such metric."""
    ours = our_metric(setting.terms.task, board, name) or name
    for metric in setting.metrics:
        if _letters(metric) in (_letters(name), _letters(ours)):
            return metric
    return None


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _without_ablations(board: Board) -> Board:
    """A board without rows of ablations and of costs; the number of those stays in `hidden`."""
    settings = []
    for setting in board.settings:
        rows = setting.of("measured", "comparison")
        if rows:
            settings.append(replace(setting, rows=tuple(rows)))
    hidden = sum(len(setting.rows) for setting in board.settings) - sum(len(setting.rows) for setting in settings)
    return replace(board, settings=tuple(settings), hidden=hidden)
