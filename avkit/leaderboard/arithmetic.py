# SPDX-License-Identifier: Apache-2.0
"""What published figures say about themselves and each other, from the figures alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from avkit.leaderboard.agreement import check_averages, check_disputes, check_identical, check_mixed_tables
from avkit.leaderboard.findings import KINDS, Finding, Kind
from avkit.leaderboard.published import (
    PublishedRow,
    PublishedValue,
    Source,
    group_rows,
    read_published,
    read_sources,
)
from avkit.leaderboard.question_arithmetic import check_questions

#: Thresholds of DAVEL's average, and the lowest that tables print.
_DAVEL_THRESHOLDS = 9
_LOWEST_PRINTED = "mAP@0.5"
_EPSILON = 1e-9


@dataclass(frozen=True)
class Audit:
    """All findings about published rows.

    Attributes:
        findings: By row, the gravest first; rows without any are absent.
        releases: By row the release that it states or betrays; absent where neither.
    """

    findings: Mapping[str, Sequence[Finding]]
    releases: Mapping[str, str]

    def of(self, row: str, *kinds: Kind) -> list[Finding]:
        """A row's findings of some kinds, of all where none is given."""
        findings = self.findings.get(row, ())
        return [finding for finding in findings if not kinds or finding.kind in kinds]

    def word(self, row: str) -> Kind | None:
        """The gravest finding about a row; None where there is none that makes its figures doubtful."""
        grave = self.of(row, "impossible", "misprint", "disputed", "identical", "release unknown")
        return grave[0].kind if grave else None


@cache
def audit_published() -> Audit:
    """The findings about the package's published rows."""
    return audit(read_published(), read_sources())


def audit(values: Sequence[PublishedValue], sources: Mapping[str, Source]) -> Audit:
    """What the figures of published rows say.

    Args:
        values: Published values.
        sources: Their sources by id.
    """
    rows = group_rows(values)
    findings = [*_check_ids(values), *_check_sources(rows, sources)]
    for value in values:
        findings += _check_bounds(value)
    for row in rows:
        for check in _CHECKS.get(row.first.task, ()):
            findings += check(row)
    releases = {row.first.row: row.first.release for row in rows if row.first.release}
    releases.update({finding.row: finding.release for finding in findings if finding.kind == "release"})
    findings += [*check_disputes(values, releases), *check_identical(rows)]
    findings += [*check_mixed_tables(rows, releases), *check_averages(rows)]
    by_row: dict[str, list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: KINDS.index(finding.kind)):
        by_row.setdefault(finding.row, []).append(finding)
    return Audit(by_row, releases)


def _check_ids(values: Sequence[PublishedValue]) -> Iterator[Finding]:
    ids: set[str] = set()
    for value in values:
        if value.id in ids:
            yield Finding(value.row, "impossible", f"{value.metric} stands twice in one row", value.metric)
        ids.add(value.id)


def _check_sources(rows: Sequence[PublishedRow], sources: Mapping[str, Source]) -> Iterator[Finding]:
    for row in rows:
        if row.first.source not in sources:
            yield Finding(row.first.row, "impossible", f"its source {row.first.source!r} is not known")


def _check_bounds(value: PublishedValue) -> Iterator[Finding]:
    """A share outside of its scale, and a negative cost."""
    number = value.value
    if number is None:
        return
    highest = {"percent": 100.0, "fraction": 1.0}.get(value.scale)
    if number < 0 or (highest is not None and number > highest):
        end = f"{highest:g}" if highest is not None else "no upper end"
        yield Finding(value.row, "impossible", f"{value.metric} {value.printed} lies outside 0 to {end}", value.metric)


def _check_type_means(row: PublishedRow) -> Iterator[Finding]:
    """Parsing: Type is the mean of audio, visual and audio-visual, over segments and over events."""
    for level in ("segment", "event"):
        mean = row.value(f"{level}/Type")
        parts = [row.value(f"{level}/{name}") for name in ("Audio", "Visual", "Audio-Visual")]
        printed = [part for part in parts if part is not None]
        if mean is None or len(printed) < len(parts):
            continue
        values = [part.percent or 0.0 for part in printed]
        expected = sum(values) / len(values)
        width = 100 * (mean.rounding + sum(part.rounding for part in printed) / len(printed))
        if abs(expected - (mean.percent or 0.0)) > width + _EPSILON:
            terms = " + ".join(part.printed for part in printed)
            yield Finding(
                row.first.row,
                "impossible",
                f"{mean.metric} {mean.printed} is not the mean of its three: ({terms}) / 3 = {expected:.2f}",
                mean.metric,
            )


def _check_detection(row: PublishedRow) -> Iterator[Finding]:
    """Dense localisation: mAP falls with the threshold, and the average over 0.1 to 0.9 follows from that."""
    average = row.value("Avg")
    printed = [value for value in row.values if value.metric.startswith("mAP@") and value.percent is not None]
    ordered = sorted(printed, key=lambda value: value.metric)
    for lower, higher in pairwise(ordered):
        if (lower.fraction or 0.0) + lower.rounding + higher.rounding < (higher.fraction or 0.0):
            text = f"{higher.metric} {higher.printed} exceeds {lower.metric} {lower.printed}, of a lower threshold"
            yield Finding(row.first.row, "impossible", text, higher.metric)
    if average is None or average.percent is None or not ordered or ordered[0].metric != _LOWEST_PRINTED:
        return
    missing = _DAVEL_THRESHOLDS - len(ordered)
    total = sum(value.percent or 0.0 for value in ordered)
    least = (total + missing * (ordered[0].percent or 0.0)) / _DAVEL_THRESHOLDS
    most = (total + missing * 100.0) / _DAVEL_THRESHOLDS
    width = 100 * (average.rounding + ordered[0].rounding)
    if not least - width - _EPSILON <= average.percent <= most + width + _EPSILON:
        yield Finding(
            row.first.row,
            "impossible",
            f"Avg {average.printed} is no mean of nine mAPs: those printed, and {missing} from {ordered[0].printed} to "
            f"100 at lower thresholds, give {least:.2f} to {most:.2f}",
            average.metric,
        )


def _check_localization(row: PublishedRow) -> Iterator[Finding]:
    """Sources: the area under the success curve, which falls, has bounds by the success at 0.5."""
    success = row.value("CIoU")
    area = row.value("AUC")
    if success is None or area is None:
        return
    share = success.fraction or 0.0
    least = 0.5 * share + 0.025 * (1 - share)  # the curve starts at 1 and is drawn in steps of 0.05
    most = 0.5 + 0.5 * share
    width = area.rounding + success.rounding
    if not least - width <= (area.fraction or 0.0) <= most + width:
        yield Finding(
            row.first.row,
            "impossible",
            f"AUC {area.printed} with CIoU {success.printed}: a falling curve has {100 * least:.2f} to "
            f"{100 * most:.2f}",
            area.metric,
        )


#: What the rows of a task are checked for.
_CHECKS: Mapping[str, Sequence[Callable[[PublishedRow], Iterator[Finding]]]] = {
    "avqa": (check_questions,),
    "avvp": (_check_type_means,),
    "davel": (_check_detection,),
    "ssl": (_check_localization,),
}
