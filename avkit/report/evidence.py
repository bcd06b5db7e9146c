# SPDX-License-Identifier: Apache-2.0
"""Whether two scores differ: a paired bootstrap over clips, and the spread over seeds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from avkit.report.scores import Key, Scores, differing_tests

Floats = NDArray[np.float64]

#: Clips below which nothing is concluded: a bootstrap of so few is too sure of itself.
MIN_CLIPS = 10
#: Half the width of an interval that is none.
_SAME = 1e-6
#: 97.5 % of Student's t with 1, 2, ... degrees of freedom lie below; more count as the last.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Difference:
    """The second of two scores minus the first.

    Attributes:
        value: The difference of the means over seeds.
        low: Lower end of its 95 % interval: of the clips, and where both have several seeds of the seeds too; None
            where there is none.
        high: Upper end.
        p: Of the paired bootstrap test that belongs to the interval, two-sided; None where it was not made.
        clips: Clips of the test; 0 where that is not known.
        why: Why there is no interval; empty if there is one.
    """

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    clips: int = 0
    why: str = ""

    @property
    def verdict(self) -> Literal["higher", "lower", ""]:
        """Whether the second score is higher or lower; empty where the interval reaches 0 or there is none."""
        if self.low is not None and self.low > 0:
            return "higher"
        if self.high is not None and self.high < 0:
            return "lower"
        return ""


def difference(first: Sequence[Scores], second: Sequence[Scores], key: Key) -> Difference:
    """The score of some runs, which differ in their seeds, minus that of others."""
    value = mean(second, key) - mean(first, key)
    runs = [*first, *second]
    clips = min(run.clips(key[0]) for run in runs)
    if any(differing_tests(key[0], runs[0], run) for run in runs):
        return Difference(value, why="tested differently")
    if not all(key in run.draws for run in runs):
        return Difference(value, clips=clips, why="no draws over clips")
    if clips < MIN_CLIPS:
        return Difference(value, clips=clips, why=f"fewer than {MIN_CLIPS} clips")
    for run in runs:
        n, counted = run.counts.get(key, (0, ""))
        if 0 < n < MIN_CLIPS:
            return Difference(value, clips=clips, why=f"fewer than {MIN_CLIPS} {counted}")
    draws = mean_draws(second, key) - mean_draws(first, key)
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return Difference(value, clips=clips, why="no draw has this score")
    centred = value + _widened(draws - np.median(draws), _seed_spread(first, second, key))
    low, high = np.percentile(centred, (2.5, 97.5)).tolist()
    return Difference(value, min(low, value), max(high, value), _two_sided(centred), clips)


def mean(runs: Sequence[Scores], key: Key) -> float:
    """Mean score over runs."""
    return statistics.fmean(run.values[key] for run in runs)


def mean_draws(runs: Sequence[Scores], key: Key) -> Floats:
    """Mean of the draws of runs, (R,)."""
    return np.mean([run.draws[key].astype(np.float64) for run in runs], axis=0)


def deviation(runs: Sequence[Scores], key: Key) -> float | None:
    """Standard deviation over seeds; None for one."""
    return statistics.stdev(run.values[key] for run in runs) if len(runs) > 1 else None


def difference_deviation(first: Mapping[int, float], second: Mapping[int, float]) -> float | None:
    """Standard deviation of a difference over seeds, of scores by seed; None where one has a single seed.

    Where both have the same seeds it is that of the differences seed by seed, else that of a difference of two
    independent draws.
    """
    if min(len(first), len(second)) < 2:
        return None
    if first.keys() == second.keys():
        return statistics.stdev(second[seed] - first[seed] for seed in first)
    return math.hypot(statistics.stdev(first.values()), statistics.stdev(second.values()))


def _seed_spread(first: Sequence[Scores], second: Sequence[Scores], key: Key) -> float:
    """Half the width of the 95 % interval of the difference over seeds, by Student's t; 0 where one has one seed."""
    ours = {run.seed: run.values[key] for run in first}
    theirs = {run.seed: run.values[key] for run in second}
    spread = difference_deviation(ours, theirs)
    if spread is None:
        return 0.0
    seeds = min(len(ours), len(theirs))
    return _STUDENT[min(seeds - 1, len(_STUDENT)) - 1] * spread / math.sqrt(seeds)


def _widened(draws: Floats, spread: float) -> Floats:
    """Draws about 0 with an interval as wide as their own and that of another source, `spread` each side, together."""
    low, high = np.percentile(draws, (2.5, 97.5)).tolist()
    half = (high - low) / 2
    if half > _SAME:
        return draws * (math.hypot(half, spread) / half)
    ranks = (np.arange(len(draws)) + 0.5) / len(draws)
    normal = statistics.NormalDist(0, spread / 1.96) if spread else None
    return draws if normal is None else np.array([normal.inv_cdf(rank) for rank in ranks.tolist()])


def _two_sided(draws: Floats) -> float:
    """The share of draws on the smaller side of 0, twice; at least one draw counts."""
    smaller = min(np.mean(draws <= 0), np.mean(draws >= 0))
    return float(min(1.0, 2 * max(float(smaller), 1 / len(draws))))
