# SPDX-License-Identifier: Apache-2.0
"""`avkit leaderboard add RUN --as NAME` writes a result to submit; `verify PATH` scores its predictions again."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from avkit.errors import AvkitError, count_of
from avkit.leaderboard.measured import RESULTS
from avkit.leaderboard.records import RECORD, RECORDS, Record, read_records, result_files


def parser() -> argparse.ArgumentParser:
    """The options of both commands."""
    p = argparse.ArgumentParser(prog="avkit leaderboard")
    commands = p.add_subparsers(dest="command", required=True)
    add = commands.add_parser(
        "add",
        help="write record and predictions of a tested run as a result to submit",
        description="Copies the record and the predictions of each benchmark of a tested run into "
        "RESULTS/DATASET/NAME/seed-N. A folder that 'avkit fit --seeds' made gives a result for each seed.",
    )
    add.add_argument("run", type=Path, help="folder of a tested run or of its seeds, or a record of 'avkit score'")
    add.add_argument("--as", dest="name", required=True, metavar="NAME", help="name of the method, as boards show it")
    add.add_argument("--predictions", type=Path, metavar="FILE", help="predictions of a record of 'avkit score'")
    add.add_argument("--results", type=Path, default=Path(RESULTS), help="folder of all results (default: results)")
    add.add_argument("--gzip", action="store_true", help="write the predictions gzipped")
    add.add_argument("--debug", action="store_true", help="show where an error comes from")
    verify = commands.add_parser(
        "verify",
        help="score the predictions of results again",
        description="Checks the hashes of results and scores their predictions again, without a model and without "
        "media. Exit status: 0 the figures are the same, 1 they are not, 2 a result is refused or cannot be scored.",
    )
    verify.add_argument("path", type=Path, help="a record, a folder of results, or a tested run")
    verify.add_argument(
        "--root", type=Path, help="folder of the datasets' official files, or one with a folder for each"
    )
    verify.add_argument("--debug", action="store_true", help="show where an error comes from")
    return p


def run(args: list[str]) -> int:
    """Add or verify; `args` are the words after `avkit leaderboard`."""
    options = parser().parse_args(args)
    if options.command == "add":
        return _add(options)
    return _verify(options.path, options.root)


def _add(options: argparse.Namespace) -> int:
    from avkit.cli.submitted import add_result, sources_of

    added = []
    for source in sources_of(options.run, options.predictions):
        added.append(add_result(source, options.name, options.results, compress=options.gzip))
    for path in added:
        print(f"added: {path}")
    print(f"check it: avkit leaderboard verify {added[0] if len(added) == 1 else options.results} --root ROOT")
    return 0


def _verify(path: Path, root: Path | None) -> int:
    """Verify all records at a path; returns the gravest status."""
    from avkit.cli.verification import verify_record

    files = record_files(path)
    statuses = []
    for file in files:
        try:
            for record in read_records(file):
                statuses.append(_report(file, record, verify_record(record, file.parent, root)))
        except (AvkitError, ValueError) as error:
            if len(files) == 1:
                raise
            print(f"avkit leaderboard: {error}", file=sys.stderr)
            statuses.append(2)
    print(f"{count_of(statuses.count(0), 'result')} of {len(statuses)} verified")
    return max(statuses)


def _report(file: Path, record: Record, differences: Sequence[str]) -> int:
    """Print what came of a record; returns its status."""
    name = f"{file.parent}: {record.benchmark}"
    if not differences:
        print(f"{name}: {count_of(len(record.figures), 'figure')}, the same")
        return 0
    for difference in differences:
        print(f"{name}: {difference}")
    return 1


def record_files(path: Path) -> list[Path]:
    """The files of records at a path: itself, that of a run, or all of a folder of results.

    Raises:
        ValueError: If there are none.
    """
    if path.is_file():
        return [path]
    if (path / RECORDS).is_file():
        return [path / RECORDS]
    files = sorted([*result_files(path), *path.glob(f"seed-*/{RECORDS}")])
    if not files:
        problem = f"holds no {RECORD}" if path.is_dir() else "does not exist"
        raise ValueError(f"{path} {problem}. Name a record, a folder of results, or a tested run.")
    return files
