# SPDX-License-Identifier: Apache-2.0
"""Verdicts: whether measured figures agree with published ones, and why they may not be compared.

- Of given weights or predictions, figures agree within half a unit of the last printed digit plus 0.02 points, or 0.05
  points for networks in half precision.
- Of trainings, the mean over seeds agrees within 1 point, or 2 standard deviations over seeds where these are more. One
  seed says `within` or `outside` and no more.
- Nothing is compared unless dataset, release, split, features and protocol are those of the published row, and exactly
  the samples of the official list were scored.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias, get_args

from avkit.errors import count_of
from avkit.leaderboard.printed import Printed
from avkit.leaderboard.records import Record

Word: TypeAlias = Literal[
    "reproduced",
    "within",
    "within, with differences",
    "above",
    "below",
    "outside",
    "not comparable",
    "claimed",
    "disputed",
    "impossible",
    "smoke",
]
WORDS: tuple[Word, ...] = get_args(Word)
#: Exit status of a command that ends with a verdict: 0 agrees, 1 differs, 2 cannot be compared.
STATUS: Mapping[Word, int] = {
    **dict.fromkeys(WORDS, 2),
    **dict.fromkeys(("reproduced", "within", "within, with differences"), 0),
    **dict.fromkeys(("above", "below", "outside"), 1),
}
#: Points of rounding in float32 and in half precision.
_FLOAT32_POINTS = 0.02
_HALF_POINTS = 0.05
#: Points within which the mean of trainings agrees, and the number of standard deviations that may be more.
_TRAINING_POINTS = 1.0
_DEVIATIONS = 2.0
#: Parts of the protocol that are those of the score, not of the model.
_OF_SCORING = ("metric", "evaluation batch")
#: Digits of a hash that a reason shows.
_SHOWN_DIGITS = 12
#: What rounding in binary may add to a difference in points.
_EPSILON = 1e-9


@dataclass(frozen=True)
class Claim:
    """A published row, as far as it says what was measured on what; what it does not say is not compared.

    Attributes:
        name: Of the row, such as `TSPM (Ours)`.
        source: Paper and table.
        task: Name of the task.
        dataset: Name of the dataset.
        figures: Figures by the names that reports use.
        release: Published form of the annotations.
        split: Split.
        features: By modality, the features that were read, as `Record.features` names them.
        protocol: What `Record.protocol` must say, by name.
        hashes: What `Record.hashes` must say, by name, such as that of the authors' weights.
        differs: Known differences of the recipe from the paper.
        impossible: Why the figures cannot be right.
        disputed: What other sources print for the same method.
        aimed: Whether what was measured aims at this row; False for the row of another method, which nothing can
            reproduce.
    """

    name: str
    source: str
    task: str
    dataset: str
    figures: Mapping[str, Printed]
    release: str = ""
    split: str = ""
    features: Mapping[str, str] = field(default_factory=dict)
    protocol: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    differs: Sequence[str] = ()
    impossible: Sequence[str] = ()
    disputed: Sequence[str] = ()
    aimed: bool = True


@dataclass(frozen=True)
class Comparison:
    """A published figure beside a measured one.

    Attributes:
        metric: Its name.
        printed: The published figure.
        value: The measured figure, the mean over seeds.
        deviation: Standard deviation over seeds; None for one.
        difference: Measured less published, in points.
        tolerance: Points within which they agree.
    """

    metric: str
    printed: Printed
    value: float
    deviation: float | None
    difference: float
    tolerance: float

    @property
    def place(self) -> Literal["within", "above", "below"]:
        """Where the measured figure lies."""
        if abs(self.difference) <= self.tolerance + _EPSILON:
            return "within"
        return "above" if self.difference > 0 else "below"

    @property
    def sentence(self) -> str:
        """The comparison in words, both figures as the source prints them."""
        decimals = max(0, -int(Decimal(self.printed.text).as_tuple().exponent))
        measured = self.value * 100 if self.printed.scale == "percent" else self.value
        spread = "" if self.deviation is None else f", sd {100 * self.deviation:.2f}"
        return (
            f"{self.metric} {measured:.{decimals + 1}f}, published {self.printed.text} ({self.difference:+.3f} points, "
            f"tolerance {self.tolerance:.3f}{spread})"
        )


@dataclass(frozen=True)
class Verdict:
    """What a comparison comes to.

    Attributes:
        word: One of `WORDS`.
        reasons: Why, one clause each.
        comparisons: Each published figure that was measured too; none where nothing may be compared.
    """

    word: Word
    reasons: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

    @property
    def status(self) -> int:
        """Exit status: 0 agrees, 1 differs, 2 cannot be compared."""
        return STATUS[self.word]

    def __str__(self) -> str:
        return f"{self.word} ({'; '.join(self.reasons)})" if self.reasons else self.word


def judge(records: Sequence[Record], claim: Claim) -> Verdict:
    """The verdict on measurements of one benchmark.

    Args:
        records: What was measured: nothing, one record, or one for each seed of a training.
        claim: The published row.
    """
    if claim.impossible:
        return Verdict("impossible", tuple(claim.impossible))
    if not records:
        return Verdict("disputed", tuple(claim.disputed)) if claim.disputed else Verdict("claimed", (claim.source,))
    if any(record.by == "scenes" for record in records):
        return Verdict("smoke", ("generated scenes are no data of the published row",))
    reasons = _differing_seeds(records)
    for record in records:
        reasons += [reason for reason in _not_comparable(record, claim) if reason not in reasons]
    comparisons = _compare(records, claim)
    if not comparisons:
        reasons.append(f"none of {', '.join(claim.figures) or 'its figures'} was measured")
    if reasons:
        return Verdict("not comparable", tuple(reasons))
    return _compared(records, claim, comparisons)


def _compared(records: Sequence[Record], claim: Claim, comparisons: Sequence[Comparison]) -> Verdict:
    """The verdict on figures that may be compared."""
    one_training = records[0].by == "training" and len(records) == 1
    apart = [comparison for comparison in comparisons if comparison.place != "within"]
    kept = tuple(comparisons)
    if not claim.aimed:
        return Verdict(comparisons[0].place, (f"of another method, {claim.name}", comparisons[0].sentence), kept)
    if apart:
        reasons = tuple(comparison.sentence for comparison in apart)
        below = any(comparison.place == "below" for comparison in apart)
        if one_training:
            return Verdict("outside", (*reasons, "one seed"), kept)
        return Verdict("below" if below else "above", reasons, kept)
    missing = [metric for metric in claim.figures if metric not in {comparison.metric for comparison in comparisons}]
    differences = [*claim.differs, *(f"{metric} was not measured" for metric in missing)]
    if differences:
        return Verdict("within, with differences", tuple(differences), kept)
    if one_training:
        return Verdict("within", ("one seed",), kept)
    return Verdict("reproduced", (), kept)


def _differing_seeds(records: Sequence[Record]) -> list[str]:
    """Why records are no seeds of one measurement."""
    first = records[0]
    reasons = []
    if len(records) > 1 and any(record.by != "training" for record in records):
        reasons.append(f"{len(records)} records, and only those of trainings are averaged")
    seeds = [seed for record in records for seed in record.seeds]
    for seed in dict.fromkeys(seeds):
        if seeds.count(seed) > 1:
            reasons.append(f"seed {seed} stands {seeds.count(seed)} times")
    for name in ("system", "method", "experiment", "n"):
        values = list(dict.fromkeys(vars(record)[name] for record in records))
        if len(values) > 1:
            reasons.append(f"{name} {values[0]} and {values[1]} among the seeds")
    for record in records[1:]:
        for kind in ("protocol", "features"):
            reasons += _unequal(vars(first)[kind], vars(record)[kind], "another seed has")
    return reasons


def _not_comparable(record: Record, claim: Claim) -> list[str]:
    """Why a measurement may not be compared with a row."""
    reasons = []
    if record.n != record.official_n:
        if record.official_n is None:
            reasons.append(f"{record.n:,} samples, and no official list says how many there are")
        else:
            reasons.append(f"{record.n:,} of {record.official_n:,} official samples")
    if record.faults:
        reasons.append(f"{count_of(record.faults, 'fault')} in the file")
    reasons += [f"{name} is not the file that the dataset's authors published" for name in record.changed]
    for name in ("task", "dataset", "release", "split"):
        published = vars(claim)[name]
        measured = vars(record)[name]
        if published and measured != published:
            reasons.append(f"{name} {measured or 'unknown'}, published for {published}")
    protocol = claim.protocol
    if record.by == "predictions":  # whoever made them read and asked what they did; how they are scored is ours
        protocol = {name: text for name, text in protocol.items() if name in _OF_SCORING}
    else:
        reasons += _unequal(claim.features, record.features, "measured with")
        reasons += _other_files(claim.hashes, record.hashes)
    reasons += _unequal(protocol, record.protocol, "measured with")
    return reasons


def _other_files(expected: Mapping[str, str], hashes: Mapping[str, str]) -> list[str]:
    """Files that are others than those of the published row, as clauses."""
    clauses = []
    for name, value in expected.items():
        other = hashes.get(name, "")
        if other and other != value:
            clauses.append(f"other {name} ({other[:_SHOWN_DIGITS]}) than the published ({value[:_SHOWN_DIGITS]})")
    return clauses


def _unequal(expected: Mapping[str, str], values: Mapping[str, str], words: str) -> list[str]:
    """Entries of a mapping that another one has not, as clauses."""
    clauses = []
    for name, text in expected.items():
        other = values.get(name, "")
        if text and other != text:
            clauses.append(f"{name} {text}, {words} {other or 'an unknown one'}")
    return clauses


def _compare(records: Sequence[Record], claim: Claim) -> list[Comparison]:
    """Each published figure that all records have."""
    comparisons = []
    for metric, printed in claim.figures.items():
        values = [record.figures[metric].value for record in records if metric in record.figures]
        if len(values) == len(records):
            comparisons.append(_comparison(metric, printed, values, records[0]))
    return comparisons


def _comparison(metric: str, printed: Printed, values: Sequence[float], record: Record) -> Comparison:
    mean = statistics.fmean(values)
    deviation = statistics.stdev(values) if len(values) > 1 else None
    if record.by == "training":
        tolerance = max(_TRAINING_POINTS, _DEVIATIONS * 100 * (deviation or 0.0))
    else:
        half = "16" in record.protocol.get("precision", "")
        tolerance = printed.half_unit + (_HALF_POINTS if half else _FLOAT32_POINTS)
    return Comparison(metric, printed, mean, deviation, 100 * mean - printed.points, tolerance)
