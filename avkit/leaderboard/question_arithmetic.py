# SPDX-License-Identifier: Apache-2.0
"""Which release of MUSIC-AVQA a row's accuracies come from, and whether they pool.

An accuracy of n questions is k / n for a whole k, and n differs between releases; an average is pooled from its types.
So a row of nine types, each printed with two decimals, betrays its release, and a row whose averages do not follow from
its types on any release contradicts itself.
"""

import math
from collections.abc import Iterator, Sequence

from avkit.leaderboard.findings import Finding
from avkit.leaderboard.published import PublishedRow, PublishedValue
from avkit.leaderboard.question_counts import AVERAGES, NAMES, TYPES, Release, releases_of, right_answers

#: Boards of which some release has counts that are not known, so that no figure is impossible.
_INCOMPLETE = ("music-avqa-v2",)
#: How likely the types of a row may fit a release by luck, and its averages alone.
_LUCK_OF_TYPES = 1e-3
_LUCK_OF_AVERAGES = 0.05
_EPSILON = 1e-9


def check_questions(row: PublishedRow) -> Iterator[Finding]:
    """What the accuracies of a row say about its release, and about each other.

    Args:
        row: A row of a board of MUSIC-AVQA; others say nothing.
    """
    first = row.first
    types = _values(row, NAMES)
    averages = _values(row, (*AVERAGES, "Overall"))
    releases = releases_of(first.dataset, first.release)
    if not releases or len(averages) < len(AVERAGES) + 1:
        return
    complete = len(types) == len(NAMES)
    release = _release_of_types(releases, types) if complete else _release_of_averages(releases, averages)
    if release is not None:
        yield Finding(first.row, "release", _release_text(release, types or averages), release=release.name)
        yield from _contradictions(row, release, complete=complete)
        return
    if first.release:
        yield from _doubts(row, releases[0], averages)
        return
    if complete:
        of_split = [candidate for candidate in releases if candidate.split == first.split]
        best = max(of_split or releases, key=lambda candidate: sum(candidate.fits(value) for value in types))
        hits = sum(best.fits(value) for value in types)
        text = f"its types are k / n of no known release: at most {hits} of {len(types)}, on {best.label}"
        if hits == len(types):
            text = "its types are printed with too few digits to tell their release"
        yield Finding(first.row, "release unknown", text)
    if first.dataset not in _INCOMPLETE and not any(_all_pool(row, release) for release in releases):
        yield _impossible(row, releases, complete=complete)


def _values(row: PublishedRow, names: Sequence[str]) -> list[PublishedValue]:
    values = [row.value(name) for name in names]
    return [value for value in values if value is not None and value.percent is not None]


def _release_of_types(releases: Sequence[Release], types: Sequence[PublishedValue]) -> Release | None:
    """The one release that more types fit than luck explains."""
    fitting = [release for release in releases if release.luck(types) < _LUCK_OF_TYPES]
    return min(fitting, key=lambda release: release.luck(types)) if fitting else None


def _release_of_averages(releases: Sequence[Release], averages: Sequence[PublishedValue]) -> Release | None:
    """The one release on which all averages are k / n and pool; None where several do, or luck explains it."""
    *parts, overall = averages
    fitting = []
    for release in releases:
        if all(release.fits(value) for value in averages) and release.pools(overall, parts):
            fitting.append(release)
    return fitting[0] if len(fitting) == 1 and fitting[0].luck(averages) < _LUCK_OF_AVERAGES else None


def _release_text(release: Release, values: Sequence[PublishedValue]) -> str:
    hits = sum(release.fits(value) for value in values)
    return f"{hits} of {len(values)} accuracies are k / n of {release.label}"


def _sums(row: PublishedRow, *, complete: bool) -> Iterator[tuple[PublishedValue, list[PublishedValue]]]:
    """Each average of a row with what it is pooled from: types where they are all printed, else the averages."""
    groups = {f"{modality} Avg": names for modality, names in TYPES.items()} if complete else {}
    groups["Overall"] = NAMES if complete else AVERAGES
    for name, parts in groups.items():
        average = row.value(name)
        if average is not None:
            yield average, _values(row, parts)


def _all_pool(row: PublishedRow, release: Release) -> bool:
    complete = len(_values(row, NAMES)) == len(NAMES)
    return all(release.pools(average, parts) for average, parts in _sums(row, complete=complete))


def _contradictions(row: PublishedRow, release: Release, *, complete: bool) -> Iterator[Finding]:
    """Figures that cannot be on a release that the row states or betrays."""
    misfits = [value for value in _values(row, NAMES if complete else AVERAGES) if not release.fits(value)]
    swapped = _swapped(misfits, release)
    if swapped:
        first, second = swapped
        yield Finding(
            row.first.row,
            "misprint",
            f"{first.metric} {first.printed} and {second.metric} {second.printed} are exchanged: each is k / n of the "
            f"other's questions ({release.totals[first.metric]:,} and {release.totals[second.metric]:,})",
            first.metric,
        )
        return
    for value in misfits:
        yield Finding(row.first.row, "misprint", _no_share(value, release), value.metric)
    for average, parts in _sums(row, complete=complete):
        if not any(part in misfits for part in parts) and not release.pools(average, parts):
            yield Finding(row.first.row, "misprint", _pool_text(average, parts, release), average.metric)


def _swapped(misfits: Sequence[PublishedValue], release: Release) -> tuple[PublishedValue, PublishedValue] | None:
    """Two values, each of which is k / n of the other's questions, if those are all that do not fit."""
    if len(misfits) != 2:
        return None
    first, second = misfits
    crossed = (
        right_answers(first, release.totals[second.metric]) is not None
        and right_answers(second, release.totals[first.metric]) is not None
    )
    return (first, second) if crossed else None


def _no_share(value: PublishedValue, release: Release) -> str:
    asked = release.totals[value.metric]
    below = math.floor((value.fraction or 0.0) * asked)
    shares = [f"{k:,} give {100 * k / asked:.{value.decimals}f}" for k in (below, below + 1)]
    return f"{value.metric} {value.printed} is no share of {asked:,} questions: {' and '.join(shares)}"


def _pool_text(average: PublishedValue, parts: Sequence[PublishedValue], release: Release) -> str:
    """Such as `1,017 and 594 questions pool 72.23 and 78.26 to 74.45, not 72.60`."""
    counts = [f"{release.totals[part.metric]:,}" for part in parts]
    pooled, _ = release.pooled(parts)
    if len(parts) > len(TYPES["Audio-Visual"]):
        return f"all {release.totals['Overall']:,} questions pool to {pooled:.2f}, not {average.printed}"
    return (
        f"{_listed(counts)} questions pool {_listed([part.printed for part in parts])} to {pooled:.2f}, not "
        f"{average.printed} ({average.metric})"
    )


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _doubts(row: PublishedRow, stated: Release, averages: Sequence[PublishedValue]) -> Iterator[Finding]:
    """Why averages are not those of the release that their source states: they are those of another, or of none."""
    misfits = [_no_share(value, stated) for value in averages if not stated.fits(value)]
    misfits += [
        _pool_text(average, parts, stated)
        for average, parts in _sums(row, complete=False)
        if not stated.pools(average, parts)
    ]
    if not misfits:
        return
    others = [release for release in releases_of(row.first.dataset) if release.name != stated.name]
    other = _release_of_averages(others, averages)
    if other is None:
        text = f"its source states {stated.label}, and {'; '.join(misfits)}"
        yield Finding(row.first.row, "release unknown", text)
    else:
        text = f"its source states {stated.label}, and its figures are those of {other.label}: {'; '.join(misfits)}"
        yield Finding(row.first.row, "impossible", text)


def _impossible(row: PublishedRow, releases: Sequence[Release], *, complete: bool) -> Finding:
    """The contradiction of a row that pools on no release, by the arithmetic on the usual release of its split."""
    sums = list(_sums(row, complete=complete))
    usual = next((release for release in releases if release.split == row.first.split), releases[0])
    apart = [(average, parts) for average, parts in sums if not usual.pools(average, parts)]
    texts = [_pool_text(average, parts, usual) for average, parts in apart]
    means = [average for average, parts in apart if complete and _is_mean(average, parts)]
    if means:
        texts.append(f"{_names(means)} {'is the mean' if len(means) == 1 else 'are means'} of types, not pooled")
    return Finding(
        row.first.row,
        "impossible",
        f"its averages follow from none of {len(releases)} known releases and splits; on {usual.label}, "
        f"{'; '.join(texts)}",
    )


def _names(values: Sequence[PublishedValue]) -> str:
    return " and ".join(value.metric for value in values)


def _is_mean(average: PublishedValue, parts: Sequence[PublishedValue]) -> bool:
    mean = sum(part.percent or 0.0 for part in parts) / len(parts)
    width = sum(100 * part.rounding for part in parts) / len(parts) + 100 * average.rounding
    return abs(mean - (average.percent or 0.0)) <= width + _EPSILON
