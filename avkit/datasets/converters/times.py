# SPDX-License-Identifier: Apache-2.0
"""Times in annotation files."""

import math

from avkit.datasets.annotations import field_error


def read_seconds(text: str, where: str, field: str) -> float:
    """Seconds, as a number with a decimal point or as HH:MM:SS.

    Raises:
        DataError: If the text is neither, or the time is negative.
    """
    seconds = 0.0
    try:
        for part in text.strip().split(":"):
            seconds = seconds * 60 + float(part)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0 or text.count(":") > 2 or "-" in text:
        raise field_error(
            where, field, f"{text[:80]!r} is no time; give seconds from 0 with a decimal point, or HH:MM:SS."
        )
    return round(seconds, 6)


def check_span(start: float, end: float, where: str) -> None:
    """Refuse a span that ends before it starts, or has no length.

    Raises:
        DataError: If it does.
    """
    if end <= start:
        raise field_error(where, "end", f"{end:g} s is not after the start at {start:g} s.")
