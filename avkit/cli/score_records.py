# SPDX-License-Identifier: Apache-2.0
"""Figures of a file of predictions as a record, and the published row that a user names."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from avkit.cli.provenance import commit, versions
from avkit.datasets import find_dataset
from avkit.datasets.official import Official
from avkit.leaderboard.claims import claim_of, claim_of_row
from avkit.leaderboard.experiments import Experiment, read_experiments
from avkit.leaderboard.hashes import file_hash, files_hash
from avkit.leaderboard.published import group_rows, read_published
from avkit.leaderboard.records import Figure, Record
from avkit.leaderboard.verdicts import Claim
from avkit.metrics.intervals import ScoreRow
from avkit.scoring.result import Score
from avkit.training.sources import value_for


@dataclass(frozen=True)
class NamedClaim:
    """A published row that a user named.

    Attributes:
        claim: The row.
        experiment: Id of its experiment; None where the row itself was named.
    """

    claim: Claim
    experiment: str | None = None


def make_record(result: Score, path: Path, method: str | None, args: Sequence[str]) -> Record:
    """A record of the figures, as `avkit test` writes of runs.

    Args:
        result: The figures.
        path: File or folder of the predictions.
        method: Name of the method; None for that of the file.
        args: Words after `avkit score`.
    """
    files = {str(file.relative_to(path)): file for file in path.rglob("*") if file.is_file()} if path.is_dir() else {}
    hashes = {"predictions": files_hash(files) if files else file_hash(path)}
    if result.annotations:
        hashes["annotations"] = files_hash({file.name: file for file in result.annotations})
    figures = {name: _figure(name, row) for name, row in result.rows.items() if row.value == row.value}
    return Record(
        task=result.task.name,
        dataset=result.dataset,
        release=result.release,
        split=result.split,
        setting="",
        n=result.n,
        official_n=result.official_n,
        figures=figures,
        method=method or path.name.partition(".")[0],
        system="",
        experiment=None,
        by="scenes" if result.generated else "predictions",
        seeds=[],
        protocol=result.protocol,
        changed=result.changed,
        faults=len(result.faults) + result.more_faults,
        hashes=hashes,
        commit=commit(),
        versions=versions(),
        date=time.strftime("%Y-%m-%d %H:%M %z"),
        command=shlex.join(["avkit", "score", *args]),
    )


def _figure(name: str, row: ScoreRow) -> Figure:
    ends = (_finite(row.low), _finite(row.high))
    return Figure(row.value, row.n, row.counted, *ends, unit="number" if name == "CIDEr" else "fraction")


def _finite(value: float | None) -> float | None:
    return None if value is None or value != value else value


def named_claim(name: str, record: Record) -> NamedClaim:
    """The published row of an experiment, or the row itself.

    How a recipe differs from its paper says nothing of predictions that others made, and neither do its features.

    Args:
        name: Id of an experiment or of a published row.
        record: What was measured.

    Raises:
        ValueError: If there is none; names the nearest.
    """
    experiments = {experiment.id: experiment for experiment in read_experiments()}
    if name in experiments:
        return NamedClaim(_claim_of(experiments[name], record), name)
    rows = {row.first.row: row for row in group_rows(read_published())}
    if name in rows:
        return NamedClaim(claim_of_row(rows[name]))
    near = get_close_matches(name, [*experiments, *rows], n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"--against is {name!r}, no id of an experiment ('avkit reproduce --list') or of a published row.{hint}"
    )


def _claim_of(experiment: Experiment, record: Record) -> Claim:
    data = experiment.all_options().get("data")
    release = data.get("release") if isinstance(data, dict) else None
    text = None if release is None else str(release)
    own = value_for(experiment.figures_of, text, experiment.datasets, "data.release")
    claim = claim_of(experiment, record.task, release=own or _usual_release(experiment.figures_of))
    return replace(claim, differs=())


def _usual_release(name: str) -> str:
    """The release of a dataset that is meant where none is stated; empty where there are none."""
    dataset = find_dataset(name) if "+" not in name else None
    return dataset.releases[0] if dataset is not None and issubclass(dataset, Official) else ""
