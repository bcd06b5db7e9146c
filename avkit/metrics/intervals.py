# SPDX-License-Identifier: Apache-2.0
"""How certain a score is: 95 % intervals of shares and of any score that is made of sums over clips.

Letters: N blocks of clips, R draws, S sums.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Draws of the bootstrap.
RESAMPLES = 1000
#: Seed of the draws: the same clips are drawn alike in every run, so scores of two runs can be compared draw by draw.
SEED = 20_180_910
#: 97.5 % of a normal distribution lie below.
_Z = 1.959963984540054
#: Ends of the interval in percent.
_ENDS = (2.5, 50.0, 97.5)
#: Draws that differ by less say nothing about how certain a score is.
_SPREAD = 1e-6


@dataclass(frozen=True)
class ScoreRow:
    """A score with what it counts and its 95 % interval.

    Attributes:
        value: The score; NaN where nothing was scored.
        n: How many clips, or whatever `counted` says, the score is made of.
        low: Lower end of the interval; None where it cannot be given.
        high: Upper end.
        counted: What `n` counts, in the plural.
        draws: The score in each draw of the bootstrap, float64 (R,); None where there are none.
    """

    value: float
    n: int
    low: float | None = None
    high: float | None = None
    counted: str = "clips"
    draws: Floats | None = None


def wilson(correct: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of n independent answers.

    Examples:
        >>> low, high = wilson(9, 10)
        >>> round(low, 3), round(high, 3)
        (0.596, 0.982)

    Args:
        correct: How many of them are right, from 0 to n; a fraction where answers are right in part, for which the
            interval is wider than it need be.
        n: Number of answers, 1 or more.

    Raises:
        ValueError: If there is no answer, or more are right than there are.
    """
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"{correct:g} of {n} answers right; give 1 or more answers, and 0 to all of them right.")
    share = correct / n
    square = _Z**2 / n
    centre = (share + square / 2) / (1 + square)
    half = _Z * math.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    # the ends hold the share itself, also after rounding
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def resample_counts(units: int, draws: int = RESAMPLES) -> Floats:
    """How often each of N units is taken in each of R draws of N with replacement, float64 (R, N)."""
    if not units:
        return np.zeros((draws, 0))
    taken = np.random.default_rng(SEED).integers(0, units, (draws, units))
    taken += units * np.arange(draws)[:, None]
    return np.bincount(taken.reshape(-1), minlength=draws * units).reshape(draws, units).astype(np.float64)


def bootstrap(sums: Floats, score: Callable[[Floats], Mapping[str, Floats]]) -> Mapping[str, Floats]:
    """Scores of R sets that are drawn from the units of one.

    Args:
        sums: What each unit adds to the sums that scores are made of, (N, S).
        score: From sums of R sets (R, S) to scores (R,) by name.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return score(resample_counts(len(sums)) @ sums)


def bootstrap_interval(value: float, draws: Floats) -> tuple[float, float] | None:
    """The 95 % interval of a score from its draws; None where they do not differ by a ten-thousandth of a percent.

    The quantiles are moved so that their median is the score: where drawing itself moves a score, such as one that
    counts classes that are in no drawn clip as 0, the interval still lies about it.

    Args:
        value: The score of the whole set.
        draws: The score in each draw, (R,); NaN where a draw has none.
    """
    finite = draws[np.isfinite(draws)]
    if not math.isfinite(value) or len(finite) < 2 or np.ptp(finite) < _SPREAD:
        return None
    low, middle, high = np.percentile(finite, _ENDS).tolist()
    return value + low - middle, value + high - middle
