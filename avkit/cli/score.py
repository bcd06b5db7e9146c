# SPDX-License-Identifier: Apache-2.0
"""`avkit score FILE --dataset D`: predictions of whomever by the official metrics, beside published figures."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avkit.leaderboard.records import Record
    from avkit.leaderboard.verdicts import Claim, Verdict
    from avkit.scoring.result import Score
    from avkit.scoring.truth import TruthOptions


@dataclass(frozen=True)
class Judged:
    """Figures of a file with the published row beside them.

    Attributes:
        score: The figures.
        record: The same as a record.
        claim: The published row; None where there is none.
        verdict: What the comparison comes to; None without a row.
        aimed: Whether the user named the row.
    """

    score: "Score"
    record: "Record"
    claim: "Claim | None"
    verdict: "Verdict | None"
    aimed: bool


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit score",
        description="Score a file of predictions by the official metrics, without a model and without media. It says "
        "which samples are missing, doubled or unknown, and how many of the official list it covers.",
        epilog="exit status: 0 scored, or the row that --against names is agreed with; 1 it differs; 2 it cannot be "
        "compared, or the file cannot be scored",
    )
    p.add_argument("file", type=Path, help="file or folder of predictions")
    p.add_argument("--dataset", help="dataset of the samples; not needed for avkit's own files")
    p.add_argument("--task", help="task that is scored; the usual one of the dataset by default")
    p.add_argument("--split", default="test", help="split that is scored (default: test)")
    p.add_argument("--release", help="release of the annotations; the usual one by default")
    where = p.add_mutually_exclusive_group()
    where.add_argument("--root", type=Path, help="folder of the dataset's official files; media are not needed")
    where.add_argument("--annotations", type=Path, metavar="FILE", help="official annotation file, or its folder")
    p.add_argument("--format", help="form of the file, where it is not recognised; 'help' lists all")
    p.add_argument(
        "--allow_partial", action="store_true", help="leave samples without a prediction out, instead of scoring them"
    )
    p.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the task: protocol=lvs")
    p.add_argument("--image_size", type=int, help="height and width of true masks in pixels (default: the file's, 224)")
    p.add_argument("--hop", type=float, help="seconds per step, where the dataset leaves it open")
    p.add_argument("--size", type=int, help="number of scenes, for the dataset 'scenes'")
    p.add_argument("--against", metavar="ID", help="experiment or published row that the file should agree with")
    p.add_argument("--method", help="name of the method (default: the file's name)")
    p.add_argument("--record", type=Path, metavar="FILE", help="write a record of the figures, for leaderboards")
    form = p.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="all that is known, for scripts")
    form.add_argument("--csv", action="store_true", help="a line per figure")
    form.add_argument("--latex", action="store_true", help="a booktabs table")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    return p


def run(args: list[str]) -> int:
    """Score and print; `args` are the words after `avkit score`."""
    options = parser().parse_args(args)
    if options.format == "help":
        _print_formats()
        return 0
    from avkit.cli.score_tables import csv_text, json_text, latex_text, print_score
    from avkit.leaderboard.records import write_record
    from avkit.scoring.scorer import score

    result = score(
        options.file,
        options.dataset,
        options.task,
        options=_truth_options(options),
        format=options.format,
        allow_partial=options.allow_partial,
        task_options=_task_options(options.option),
    )
    judged = _judge(result, options, args)
    if options.record:
        write_record(options.record, judged.record)
    if options.json:
        print(json_text(judged), end="")
    elif options.csv:
        print(csv_text(judged), end="")
    elif options.latex:
        print(latex_text(judged), end="")
    else:
        print_score(judged)
    if options.json or options.csv or options.latex:
        for fault in result.faults:
            print(f"avkit score: {fault}", file=sys.stderr)
    return judged.verdict.status if judged.aimed and judged.verdict is not None else 0


def _print_formats() -> None:
    from avkit.scoring.formats import FORMATS, find_format

    for name in FORMATS:
        kind = find_format(name)
        print(f"{name:14} {', '.join(kind.tasks) or 'all tasks'}: {kind.title}")


def _truth_options(options: argparse.Namespace) -> "TruthOptions":
    """Where the official files are.

    Raises:
        ValueError: If a number is not above 0.
    """
    from avkit.scoring.truth import TruthOptions

    for name in ("image_size", "hop", "size"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ValueError(f"--{name} is {value}; give a number above 0.")
    return TruthOptions(
        root=options.root,
        annotations=options.annotations,
        release=options.release,
        split=options.split,
        image_size=options.image_size,
        hop=options.hop,
        size=options.size,
    )


def _task_options(words: Sequence[str]) -> dict[str, object]:
    """Options of the task by name.

    Raises:
        ValueError: If a word is no NAME=VALUE.
    """
    from avkit.reading.text import parse_yaml

    options: dict[str, object] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"--option is {word!r}; give NAME=VALUE, such as protocol=lvs.")
        options[name] = parse_yaml(value, f"--option {name}")
    return options


def _judge(result: "Score", options: argparse.Namespace, args: Sequence[str]) -> Judged:
    """The figures beside the row that the user names, or the best published one."""
    from avkit.cli.score_records import make_record, named_claim
    from avkit.leaderboard.claims import best_claim
    from avkit.leaderboard.verdicts import judge

    record = make_record(result, options.file, options.method, args)
    if options.against:
        named = named_claim(options.against, record)
        claim = named.claim
        record = replace(record, experiment=named.experiment)
    else:
        best = best_claim(record.task, record.dataset, record.release, record.split, list(record.figures))
        if best is None:
            return Judged(result, record, None, None, aimed=False)
        claim = best
    return Judged(result, record, claim, judge([record], claim), aimed=bool(options.against))
