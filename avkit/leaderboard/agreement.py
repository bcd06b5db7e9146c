# SPDX-License-Identifier: Apache-2.0
"""Published rows held against each other: other values for one method, the same for two, averages of two sets."""

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TypeVar

from avkit.leaderboard.findings import Finding
from avkit.leaderboard.published import PublishedRow, PublishedValue
from avkit.leaderboard.question_counts import release_label

#: Figures that two rows must have in common to be called identical.
_IDENTICAL_FIGURES = 3
#: How far, as a fraction, a row may be from the average of two others that are taken for its parts.
_NEAR = 0.02
_EPSILON = 1e-9
_T = TypeVar("_T")


def method_name(value: PublishedValue) -> str:
    """A method's name without what authors add to their own, in lower case letters and digits."""
    short = re.fullmatch(r"short for (?P<name>.+)", value.note)
    name = short["name"] if short else value.method
    return re.sub(r"\(ours\)|[^a-z0-9+@]", "", name.lower())


def agree(first: PublishedValue, second: PublishedValue) -> bool:
    """Whether two printed values may be one value, rounded."""
    if first.fraction is None or second.fraction is None:
        return first.printed == second.printed
    return abs(first.fraction - second.fraction) <= first.rounding + second.rounding - _EPSILON or (
        first.fraction == second.fraction
    )


def check_disputes(values: Sequence[PublishedValue], releases: Mapping[str, str]) -> Iterator[Finding]:
    """Values that another place prints otherwise for the same method.

    Args:
        values: All values.
        releases: By row the release that it states or betrays.
    """
    for group in _grouped(values, _measurement):
        if len({value.printed for value in group}) > 1:
            for value in group:
                for other in _contradicting(value, group):
                    yield _dispute(value, other, releases)


def _contradicting(value: PublishedValue, group: Sequence[PublishedValue]) -> Iterator[PublishedValue]:
    """The first value of each source that prints the measurement otherwise, and nowhere as it is here."""
    for others in _grouped(group, lambda other: other.source):
        if others[0].source == value.source:  # within a source, other features are meant to give another value
            others = [other for other in others if other.features == value.features]
            others = [other for other in others if not agree(value, other)]
        if others and not any(agree(value, other) for other in others):
            yield others[0]


def _measurement(value: PublishedValue) -> tuple[str, ...]:
    """What is equal in values of one measurement."""
    place = (value.task, value.dataset, value.release, value.split, value.setting)
    return (*place, value.metric, method_name(value), "cost" if value.kind == "efficiency" else "")


def _dispute(value: PublishedValue, other: PublishedValue, releases: Mapping[str, str]) -> Finding:
    place = f"{other.source}, {other.table}" if other.table else other.source
    text = f"{value.metric} {value.printed}, and {other.printed} in {place}"
    own = releases.get(value.row, "")
    others = releases.get(other.row, "")
    if own and others and own != others:
        labels = [release_label(value.dataset, release, value.split) for release in (own, others)]
        return Finding(value.row, "elsewhere", f"{text}: {labels[0]} here, {labels[1]} there", value.metric)
    if value.features and other.features and value.features != other.features:
        return Finding(value.row, "elsewhere", f"{text}: {value.features} here, {other.features} there", value.metric)
    return Finding(value.row, "disputed", text, value.metric)


def check_identical(rows: Sequence[PublishedRow]) -> Iterator[Finding]:
    """Rows of differently named methods in two sources whose common figures are all the same."""
    for group in _grouped(rows, lambda row: (row.first.task, row.first.dataset, row.first.release, row.first.split)):
        for first, second in combinations(group, 2):
            figures = _identical_figures(first, second)
            if figures:
                yield _identical(first, second, figures)
                yield _identical(second, first, figures)


def _identical_figures(first: PublishedRow, second: PublishedRow) -> list[PublishedValue]:
    """Common figures of two rows, if there are enough and all are the same."""
    if first.first.source == second.first.source:
        return []
    others = {value.metric: value.printed for value in second.values}
    common = [value for value in first.values if value.metric in others]
    if len(common) < _IDENTICAL_FIGURES or any(value.printed != others[value.metric] for value in common):
        return []
    return [] if method_name(first.first) == method_name(second.first) else common


def _identical(row: PublishedRow, other: PublishedRow, figures: Sequence[PublishedValue]) -> Finding:
    place = f"{other.first.source}, {other.first.table}" if other.first.table else other.first.source
    digits = ", ".join(value.printed for value in figures)
    return Finding(
        row.first.row,
        "identical",
        f"all {len(figures)} figures ({digits}) are those of {other.first.method} in {place}",
    )


def check_mixed_tables(rows: Sequence[PublishedRow], releases: Mapping[str, str]) -> Iterator[Finding]:
    """Rows whose release is another one than that of most rows in their table."""
    for group in _grouped(rows, lambda row: (row.first.source, row.first.table, row.first.dataset, row.first.release)):
        names = [releases[row.first.row] for row in group if row.first.row in releases]
        if not names:
            continue
        usual = max(dict.fromkeys(names), key=names.count)
        for row in group:
            release = releases.get(row.first.row, usual)
            if release != usual:
                first = row.first
                here, most = (release_label(first.dataset, name, first.split) for name in (release, usual))
                text = f"{here}, in a table of which {names.count(usual)} rows are of {most}: not comparable with them"
                yield Finding(first.row, "mixed", text)


def check_averages(rows: Sequence[PublishedRow]) -> Iterator[Finding]:
    """Rows of two datasets joined by `+` that are not the average of the rows of each, in the same source."""
    for row in rows:
        names = row.first.dataset.split("+")
        if len(names) == 2 and row.first.kind == "comparison":
            parts = _parts(row, rows, names)
            for value in row.values if parts else ():
                yield from _check_average(value, parts)


def _parts(row: PublishedRow, rows: Sequence[PublishedRow], names: Sequence[str]) -> list[PublishedRow]:
    """The rows of both datasets of which a row is the average.

    Those of its method; for a row of the authors that is named otherwise, the method of theirs that comes near in all
    figures.
    """
    candidates: dict[str, list[PublishedRow]] = {}
    for other in rows:
        same_source = other.first.source == row.first.source and other.first.kind == row.first.kind
        if same_source and other.first.dataset in names:
            candidates.setdefault(method_name(other.first), []).append(other)
    whole = {name: parts for name, parts in candidates.items() if len(parts) == len(names)}
    own = whole.get(method_name(row.first))
    if own is not None:
        return own
    if row.first.reported_by == "authors":
        for parts in whole.values():
            if parts[0].first.reported_by == "authors" and _is_near(row, parts):
                return parts
    return []


def _is_near(row: PublishedRow, parts: Sequence[PublishedRow]) -> bool:
    means = [_mean(value.metric, parts) for value in row.values]
    pairs = zip(row.values, means, strict=True)
    return all(mean is not None and abs(mean - (value.fraction or 0.0)) < _NEAR for value, mean in pairs)


def _mean(metric: str, parts: Sequence[PublishedRow]) -> float | None:
    values = [part.value(metric) for part in parts]
    numbers = [value.fraction for value in values if value is not None and value.fraction is not None]
    return sum(numbers) / len(numbers) if len(numbers) == len(parts) else None


def _check_average(value: PublishedValue, parts: Sequence[PublishedRow]) -> Iterator[Finding]:
    mean = _mean(value.metric, parts)
    if mean is None or value.fraction is None:
        return
    printed = [part for row in parts if (part := row.value(value.metric)) is not None]
    width = value.rounding + sum(part.rounding for part in printed) / len(printed)
    if abs(mean - value.fraction) > width + _EPSILON:
        terms = " + ".join(part.printed for part in printed)
        scale = 100 if value.scale == "percent" else 1
        yield Finding(
            value.row,
            "impossible",
            f"{value.metric} {value.printed} is not the average of {parts[0].first.method} in "
            f"{' and '.join(part.first.table for part in parts)}: ({terms}) / {len(printed)} = "
            f"{scale * mean:.{value.decimals + 1}f}",
            value.metric,
        )


def _grouped(items: Iterable[_T], key: Callable[[_T], Hashable]) -> Iterator[list[_T]]:
    """Items of one key together, in the order of their first."""
    groups: dict[Hashable, list[_T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    yield from groups.values()
