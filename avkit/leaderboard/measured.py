# SPDX-License-Identifier: Apache-2.0
"""Measurements as rows of boards: records of one method with its seeds, and the verdict on its published row."""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from avkit.errors import file_error
from avkit.leaderboard.aims import aims_of
from avkit.leaderboard.arithmetic import audit_published
from avkit.leaderboard.board_rows import BoardRow, Cell, Terms, shown
from avkit.leaderboard.boards import terms_of
from avkit.leaderboard.experiments import Experiment, read_experiments
from avkit.leaderboard.metric_names import board_of
from avkit.leaderboard.published import PublishedRow, group_rows, read_published
from avkit.leaderboard.records import RECORD, RECORDS, Figure, Record, read_records, result_files
from avkit.leaderboard.verdicts import STATUS, Claim, Verdict, judge

#: Folder of submitted results, in the package and where a command is run.
RESULTS = "results"
#: Features of a measurement that read none.
RAW = "pictures and sound"
#: Verdict on a measurement that aims at no published row.
MEASURED = "measured"
#: The board of measurements on generated scenes, whatever layout they are in.
SCENES = "scenes"
#: Verdicts on rows that are compared with a published one, and those on rows that stand apart from all others.
COMPARED = tuple(word for word, status in STATUS.items() if status in (0, 1))
APART = ("not comparable", "smoke")
#: What an experiment claims of a task.
ClaimFor: TypeAlias = Callable[[Experiment, str], Claim]


@dataclass(frozen=True)
class Measurement:
    """Records of one method: one, or one for each seed.

    Attributes:
        records: The records.
        mine: Whether the user named them.
    """

    records: tuple[Record, ...]
    mine: bool


def find_records(folders: Iterable[Path]) -> list[Record]:
    """The records of all submitted results below some folders; folders that are missing have none.

    Raises:
        FileError: If a record is damaged or was edited.
    """
    paths = {path.resolve() for folder in folders for path in result_files(folder)}
    return [record for path in sorted(paths) for record in read_records(path)]


def has_records(run: Path) -> bool:
    """Whether a path is a file, or a folder with records."""
    return run.is_file() or any((run / name).is_file() for name in (RECORDS, RECORD))


def read_run_records(run: Path) -> list[Record]:
    """The records of a tested run's folder, of a folder of results, or of a file of records.

    Raises:
        FileError: If there are none, or they are damaged or were edited.
    """
    if run.is_file():
        return read_records(run)
    for name in (RECORDS, RECORD):
        if (run / name).is_file():
            return read_records(run / name)
    problem = f"has no {RECORDS}" if run.is_dir() else "does not exist"
    raise file_error(run, problem, f"Name the folder of a tested run; `avkit test {run}` writes its records.")


def group_seeds(records: Iterable[Record], *, mine: bool = False) -> list[Measurement]:
    """Records that differ in their seeds alone together, in the order of their first."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(_without_seed(record), []).append(record)
    return [Measurement(tuple(group), mine) for group in groups.values()]


def _without_seed(record: Record) -> str:
    """All that seeds of one measurement have in common."""
    options = {name: value for name, value in record.options.items() if "seed" not in name}
    parts = [record.task, record.dataset, record.release, record.split, record.setting, record.method, record.system]
    parts += [record.experiment or "", record.by]
    if record.by in ("weights", "predictions"):  # those of other files are other measurements
        parts += [json.dumps(dict(record.hashes), sort_keys=True)]
    return json.dumps([parts, dict(record.protocol), dict(record.features), list(record.recipe), options])


def measured_rows(measurements: Sequence[Measurement], claim_for: ClaimFor) -> list[tuple[str, Terms, BoardRow]]:
    """Board, terms and row of each measurement.

    Args:
        measurements: What was measured.
        claim_for: What an experiment claims of a task.
    """
    if not measurements:
        return []
    experiments = {experiment.id: experiment for experiment in read_experiments()}
    rows = group_rows(read_published())
    placed = []
    for measurement in measurements:
        record = measurement.records[0]
        experiment = experiments.get(record.experiment or "")
        if experiment is None:
            placed.append(_place(measurement, None, []))
            continue
        aims = [row for row in aims_of(experiment, rows) if row.first.task == record.task]
        verdict = judge(measurement.records, _with_findings(claim_for(experiment, record.task), aims))
        placed.append(_place(measurement, verdict, aims))
    return placed


def _with_findings(claim: Claim, aims: Sequence[PublishedRow]) -> Claim:
    """A claim with what arithmetic says of its published rows: their release, contradictions, disputes."""
    audit = audit_published()
    impossible = [finding.text for row in aims for finding in audit.of(row.first.row, "impossible")]
    disputed = [finding.text for row in aims for finding in audit.of(row.first.row, "disputed")]
    release = claim.release or next((audit.releases.get(row.first.row, "") for row in aims), "")
    return replace(claim, impossible=impossible, disputed=disputed, release=release)


def _place(
    measurement: Measurement, verdict: Verdict | None, aims: Sequence[PublishedRow]
) -> tuple[str, Terms, BoardRow]:
    """The row of a measurement: on the terms of the published row if it is compared with it, else on its own."""
    record = measurement.records[0]
    word, reasons = _word(record, verdict)
    terms = _terms(record, word)
    if aims and verdict is not None and verdict.comparisons and word in COMPARED:
        terms = terms_of(aims[0], audit_published())
    common = set.intersection(*(set(record.figures) for record in measurement.records))
    cells = {}
    for name in record.figures:
        if name in common:
            cells[name] = _cell([one.figures[name] for one in measurement.records])
    row = BoardRow(
        method=record.method or record.system,
        year=int(record.date[:4]) if record.date[:4].isdigit() else None,
        kind="measured",
        cells=cells,
        word=word,
        reasons=reasons,
        records=measurement.records,
        mine=measurement.mine,
        experiments=(record.experiment,) if record.experiment else (),
    )
    board = SCENES if record.by == SCENES else board_of(record.dataset, record.release)
    return board, terms, row


def _word(record: Record, verdict: Verdict | None) -> tuple[str, tuple[str, ...]]:
    """What is to be said of a measurement, and why; faults of the published row are not its own."""
    if verdict is not None and verdict.word in ("impossible", "disputed"):
        return MEASURED, tuple(f"its published row is {verdict.word}: {reason}" for reason in verdict.reasons)
    if verdict is not None:
        return verdict.word, verdict.reasons
    if record.official_n is not None and record.n != record.official_n:
        return "not comparable", (f"{record.n:,} of {record.official_n:,} official samples",)
    return MEASURED, ()


def _terms(record: Record, word: str) -> Terms:
    """The terms on which a record was measured; rows that are compared with none stand apart."""
    features = "; ".join(f"{modality} {text}" for modality, text in record.features.items()) or RAW
    setting = "; ".join(filter(None, [record.setting, word if word in APART else ""]))
    return Terms(record.task, record.split, record.release, setting, features)


def _cell(figures: Sequence[Figure]) -> Cell:
    """A figure, the mean over seeds."""
    values = [figure.value for figure in figures]
    mean = statistics.fmean(values)
    first = figures[0]
    scale = "percent" if first.unit == "fraction" else "number"
    alone = len(figures) == 1
    return Cell(
        text=shown(mean, scale),
        value=mean,
        deviation=None if alone else statistics.stdev(values),
        n=first.n,
        low=first.low if alone else None,
        high=first.high if alone else None,
        scale=scale,
    )
