# SPDX-License-Identifier: Apache-2.0
"""Scores as text: percent, signs, intervals, and what is missing."""

import math

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def finite(x: float | None) -> float | None:
    """The number itself, or None where it is missing, NaN or infinite."""
    return float(x) if x is not None and math.isfinite(x) else None


def number(x: float | None, unit: str, sign: bool = False) -> str:
    """A score as text, in percent with one decimal if it is a fraction, else with three; a dash where there is none."""
    return _rounded(x, unit, sign, decimals=3)


def interval(low: float | None, high: float | None, unit: str, sign: bool = False) -> str:
    """Both ends of an interval as text, with two decimals where it is no fraction; empty where an end is missing."""
    if low is None or high is None:
        return ""
    between = " to " if sign else MISSING
    ends = [_rounded(x, unit, sign, decimals=2) for x in (low, high)]
    return between.join("100" if end == "100.0" else end for end in ends)


def _rounded(x: float | None, unit: str, sign: bool, decimals: int) -> str:
    if x is None:
        return MISSING
    text = f"{100 * x:.1f}" if unit == "fraction" else f"{x:.{decimals}f}"
    if float(text) == 0:
        return text.lstrip("-")
    if sign and float(text) > 0:
        return "+" + text
    return text.replace("-", MINUS)
