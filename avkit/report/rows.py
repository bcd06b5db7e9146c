# SPDX-License-Identifier: Apache-2.0
"""One score of a report: how many answers it counts, its interval, and what it has to beat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from avkit.report.numbers import MISSING, finite, interval, number

#: Scores of a row; those before `published` have an interval.
SCORES = ("value", "baseline", "silence", "swapped", "published")
#: How far an end of an interval may lie beyond its score by rounding.
_ROUNDING = 1e-6


@dataclass
class Row:
    """One score: what was measured on what, beside what it has to beat.

    A score that is None or NaN counts as not run. `low` and `high` are the ends of the 95 % interval of `value`, on its
    scale; None where it cannot be given, as for one clip.

    Attributes:
        value: The score of the model, in [0, 1] where `unit` is a fraction.
        n: How many answers the score counts; 0 where that is not known.
        counted: What they are, such as `questions`.
        baseline: The score of answering without looking or listening, described by `baseline_name`.
        silence: The score of the same model with the sound replaced by silence.
        swapped: The score of the same model with the sound of another clip.
        clips: Samples of the task that were scored.
        of: Samples of the task in the split.
        better: Which direction is better.
        published: The score in the literature.
        source: Where that stands, and on which data; needed with `published`.
        comparable: Whether the published score was measured as this one was.
        unit: `fraction` is shown in percent; `number`, such as CIDEr, has no upper end, so no error to remove.

    Raises:
        ValueError: If a fraction lies outside [0, 1], more clips were scored than there are, a score lies outside its
            interval, or a published score has no source.
    """

    task: str
    dataset: str
    split: str
    metric: str
    value: float | None
    baseline: float | None = None
    baseline_name: str = ""
    silence: float | None = None
    swapped: float | None = None
    clips: int = 0
    of: int = 0
    note: str = ""
    better: Literal["higher", "lower"] = "higher"
    published: float | None = None
    source: str = ""
    unit: Literal["fraction", "number"] = "fraction"
    n: int = 0
    counted: str = ""
    low: float | None = None
    high: float | None = None
    baseline_low: float | None = None
    baseline_high: float | None = None
    silence_low: float | None = None
    silence_high: float | None = None
    swapped_low: float | None = None
    swapped_high: float | None = None
    comparable: bool = True

    def __post_init__(self) -> None:
        where = f"Row {self.task}/{self.dataset}/{self.split} {self.metric}"
        scores = vars(self)
        for name in SCORES:
            score = finite(scores[name])
            scores[name] = score
            if score is not None and self.unit == "fraction" and not 0 <= score <= 1:
                raise ValueError(
                    f"{where}: {name} is {score:g}; a fraction lies in [0, 1]. "
                    "Divide percent by 100, or pass unit='number' for a metric without an upper end."
                )
        for name in SCORES[:-1]:
            self._check_interval(where, name)
        if self.clips > self.of:
            raise ValueError(f"{where}: clips={self.clips} exceeds of={self.of}, the clips of the split.")
        if self.published is not None and not self.source:
            raise ValueError(
                f"{where}: published is {self.published:g} without a source. Pass source='paper, table, data', so that "
                "a reader can tell whether the two scores compare."
            )

    def _check_interval(self, where: str, name: str) -> None:
        """Make the ends of an interval finite, None where the score is missing, and check their order."""
        scores = vars(self)
        low_name, high_name = interval_names(name)
        score = scores[name]
        low = finite(scores[low_name])
        high = finite(scores[high_name])
        if score is None or low is None or high is None:
            scores[low_name] = None
            scores[high_name] = None
            return
        if not low - _ROUNDING <= score <= high + _ROUNDING:
            raise ValueError(
                f"{where}: {name} is {score:g}, outside of its interval from {low:g} to {high:g}. Compute both from "
                "the same answers."
            )
        scores[low_name] = min(low, score)
        scores[high_name] = max(high, score)

    @property
    def error_removed(self) -> float | None:
        """The share of the baseline's error that the model removes: 1 is perfect, 0 no better, below 0 worse."""
        if self.value is None or self.baseline is None or self.unit == "number":
            return None
        if self.better == "higher":
            gain = self.value - self.baseline
            error = 1 - self.baseline
        else:
            gain = self.baseline - self.value
            error = self.baseline
        return gain / error if error else None

    @property
    def verdict(self) -> Literal["good", "bad", ""]:
        """Whether the baseline is beaten (`good`) or beats the model; empty unless their intervals are apart."""
        if self.low is None or self.high is None or self.baseline_low is None or self.baseline_high is None:
            return ""
        above = self.low > self.baseline_high
        below = self.high < self.baseline_low
        if not (above or below):
            return ""
        return "good" if above == (self.better == "higher") else "bad"


def interval_names(score: str) -> tuple[str, str]:
    """Names of the attributes that hold the ends of a score's interval."""
    return ("low", "high") if score == "value" else (f"{score}_low", f"{score}_high")


def group_rows(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of the same task and data together, in the order of their first."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.task, row.dataset, row.split), []).append(row)
    return list(groups.values())


def row_cells(row: Row) -> dict[str, str]:
    """The numbers of a row as text: fractions in percent with one decimal, other numbers with three.

    Returns:
        Texts of each of `SCORES`, of their intervals (`value_interval` ...; empty if there is none), `n` and `counted`,
        `published_place`, `error_removed` and `clips`. A score that is missing is a dash, a value `not run`.
    """
    values = vars(row)
    cells = {name: number(values[name], row.unit) for name in SCORES}
    for name in SCORES[:-1]:
        low, high = interval_names(name)
        cells[f"{name}_interval"] = interval(values[low], values[high], row.unit)
    removed = row.error_removed
    return cells | {
        "value": "not run" if row.value is None else cells["value"],
        "n": f"{row.n:,}" if row.n else MISSING,
        "counted": row.counted if row.n else "",
        "published_place": _published_place(row),
        "error_removed": MISSING if removed is None else f"{number(removed, 'fraction')} %",
        "clips": f"{row.clips:,} of {row.of:,}" if row.of else MISSING,
    }


def _published_place(row: Row) -> str:
    """Where the published score lies in the interval of the value; empty if there is none."""
    if row.published is None or row.value is None:
        return ""
    if row.clips < row.of:
        return f"not comparable: {row.clips:,} of {row.of:,} samples were scored"
    if not row.comparable:
        return "not comparable: see the verdict"
    if row.low is None or row.high is None:
        return "no interval to compare it with"
    if row.published < row.low:
        return "below the interval"
    return "above the interval" if row.published > row.high else "inside the interval"
