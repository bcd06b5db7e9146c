# SPDX-License-Identifier: Apache-2.0
"""What an experiment claims: the published figures that its recipe aims at, as a verdict compares them."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from avkit.leaderboard.arithmetic import audit_published
from avkit.leaderboard.experiments import Experiment
from avkit.leaderboard.metric_names import RANKED_BY, board_of, dataset_of, our_metric
from avkit.leaderboard.printed import Printed, Scale
from avkit.leaderboard.published import PublishedRow, PublishedValue, group_rows, read_published, read_sources
from avkit.leaderboard.verdicts import Claim

#: Published shares above this are per cent.
_LARGEST_FRACTION = 1.0
#: Metrics without an upper end.
_NUMBERS = ("CIDEr",)


def claim_of(
    experiment: Experiment,
    task: str,
    *,
    features: Mapping[str, str] | None = None,
    protocol: Mapping[str, str] | None = None,
    release: str = "",
    split: str = "",
) -> Claim:
    """The published row of an experiment.

    Args:
        experiment: The experiment.
        task: Task that its figures are of.
        features: By modality, the features that the row was measured with, as `Record.features` names them.
        protocol: What `Record.protocol` must say.
        release: Published form of the annotations; empty where it does not matter.
        split: Split that was tested on; empty where it does not matter.
    """
    return Claim(
        name=experiment.row,
        source=f"{experiment.paper}, {experiment.table}",
        task=task,
        dataset=experiment.figures_of,
        figures=_printed(experiment, task),
        release=release,
        split=split,
        features=features or {},
        protocol={**experiment.protocol, **(protocol or {})},
        hashes=experiment.hashes,
        differs=experiment.differs,
    )


def best_claim(task: str, dataset: str, release: str, split: str, metrics: Collection[str]) -> Claim | None:
    """The best published row that a measurement may be set beside, of whatever method.

    Rows whose figures contradict each other are left out, as are those measured on other terms than the usual ones and,
    where the figures of a board's rows betray several releases, those of another release or of one that nobody knows.

    Args:
        task: Task that was scored.
        dataset: Dataset that it was scored on.
        release: Release of its annotations.
        split: Split that was scored.
        metrics: Names of the figures that were measured.

    Returns:
        The row as a claim that nothing aims at; None where there is none.
    """
    board = board_of(dataset, release)
    audit = audit_published()
    rows = [row for row in group_rows(read_published()) if (row.first.task, row.first.dataset) == (task, board)]
    releases = {row.first.row: audit.releases.get(row.first.row, row.first.release) for row in rows}
    differ = board == dataset and any(releases.values())
    best: tuple[float, PublishedRow] | None = None
    for row in rows:
        first = row.first
        if (first.kind, first.setting) != ("comparison", "") or first.split not in ("", split):
            continue
        if (differ and releases[first.row] != release) or audit.of(first.row, "impossible", "release unknown"):
            continue
        ranked = _ranked_value(row, task, board, metrics)
        if ranked is not None and (best is None or ranked > best[0]):
            best = (ranked, row)
    return None if best is None else _claim_of_row(best[1], task, board, dataset)


def claim_of_row(row: PublishedRow) -> Claim:
    """A published row that a measurement aims at, with the release that its figures betray or its source states."""
    first = row.first
    dataset, release = dataset_of(first.dataset)
    release = release or audit_published().releases.get(first.row, first.release)
    claim = _claim_of_row(row, first.task, first.dataset, dataset)
    return replace(claim, release=release, split=first.split, aimed=True)


def _ranked_value(row: PublishedRow, task: str, board: str, metrics: Collection[str]) -> float | None:
    """The figure by which a row is ranked, where it was measured too."""
    for name in RANKED_BY.get(task, ()):
        value = row.value(name)
        if value is not None and value.fraction is not None and our_metric(task, board, name) in metrics:
            return value.fraction
    return None


def _claim_of_row(row: PublishedRow, task: str, board: str, dataset: str) -> Claim:
    """A published row as a claim of another method, the figure by which it is ranked first."""
    first = row.first
    source = read_sources()[first.source]
    ranked = [value for name in RANKED_BY.get(task, ()) if (value := row.value(name)) is not None]
    figures: dict[str, Printed] = {}
    for value in [*ranked, *row.values]:
        metric = our_metric(task, board, value.metric)
        if metric is not None and value.fraction is not None and metric not in figures:
            figures[metric] = Printed(value.printed, _scale(value))
    place = f"{source.title}, {source.venue} {source.year}"
    return Claim(
        name=first.method,
        source=f"{place}, {first.table}" if first.table else place,
        task=task,
        dataset=dataset,
        figures=figures,
        aimed=False,
    )


def _scale(value: PublishedValue) -> Scale:
    if value.scale == "percent":
        return "percent"
    return "fraction" if value.scale == "fraction" else "number"


def _printed(experiment: Experiment, task: str) -> dict[str, Printed]:
    """The figures by our names."""
    percent = any(float(text) > _LARGEST_FRACTION for text in experiment.published.values())
    figures = {}
    for name, text in experiment.published.items():
        metric = our_metric(task, experiment.figures_of, name)
        if metric is None:
            continue
        scale: Scale = "percent" if percent else "fraction"
        if metric in _NUMBERS:
            scale = "number"
        figures[metric] = Printed(text, scale)
    return figures
