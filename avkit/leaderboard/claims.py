# SPDX-License-Identifier: Apache-2.0
"""What an experiment claims: the published figures that its recipe aims at, as a verdict compares them."""

from collections.abc import Mapping
from decimal import Decimal

from avkit.leaderboard.experiments import Experiment
from avkit.leaderboard.metric_names import our_metric
from avkit.leaderboard.verdicts import Claim, Printed, Scale

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
        protocol=protocol or {},
        differs=experiment.differs,
    )


def _printed(experiment: Experiment, task: str) -> dict[str, Printed]:
    """The figures by our names; a table prints all its shares with as many decimals as one of them needs."""
    decimals = max((_decimals(value) for value in experiment.published.values()), default=0)
    percent = any(value > _LARGEST_FRACTION for value in experiment.published.values())
    figures = {}
    for name, value in experiment.published.items():
        metric = our_metric(task, experiment.figures_of, name)
        if metric is None:
            continue
        scale: Scale = "percent" if percent else "fraction"
        if metric in _NUMBERS:
            scale = "number"
        figures[metric] = Printed(f"{value:.{decimals}f}", scale)
    return figures


def _decimals(value: float) -> int:
    """Decimals that a number needs."""
    return max(0, -int(Decimal(repr(value)).as_tuple().exponent)) if value != int(value) else 0
