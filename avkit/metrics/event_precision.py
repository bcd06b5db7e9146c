# SPDX-License-Identifier: Apache-2.0
"""Average precision of events in time: detections are matched to targets by temporal IoU, class by class.

Source:
    ttgeng233/UnAV at commit 1609deba4fba, `libs/utils/metrics.py` (`ANETdetection`), which CCNet shares.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: The nine thresholds, as numpy spaces them (the third is 0.30000000000000004).
THRESHOLDS = np.linspace(0.1, 0.9, 9)
#: Two targets of a class whose ends both differ by no more are duplicates, in seconds.
_DUPLICATE = 1e-3

Ties = Literal["later_first", "earlier_first"]
Unknown = Literal["official", "drop"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class EventTable:
    """Events of many videos, one row each.

    Attributes:
        video: Number of the video, int64 (N,).
        span: Start and end in seconds, float64 (N, 2).
        label: Class, int64 (N,).
        score: Confidence, float64 (N,); not used for targets.
    """

    video: Ints
    span: Floats
    label: Ints
    score: Floats

    def take(self, rows: Ints | Flags) -> "EventTable":
        """Some of the rows, by number or by flag."""
        return EventTable(self.video[rows], self.span[rows], self.label[rows], self.score[rows])


def average_precision(
    preds: EventTable,
    target: EventTable,
    thresholds: Floats = THRESHOLDS,
    ties: Ties = "later_first",
    unknown: Unknown = "official",
) -> tuple[Floats, Ints]:
    """Average precision of each class at each threshold.

    A detection is matched to the target of highest IoU (the later row of equals) among those of its class in its video
    that are unmatched and reach the threshold; each threshold is matched separately. The precision is made
    non-increasing and summed over all changes of recall.

    Args:
        preds: Detections in row order.
        target: Targets without duplicates, see `without_duplicates`.
        thresholds: Temporal IoU, (M,); equality passes.
        ties: Which of detections with equal scores comes first.
        unknown: What happens to detections of a label that no target has: `official` leaves them their number among the
            renumbered classes, where they may count as false alarms of another class; `drop` takes them out.

    Returns:
        float64 (M, K) for the K classes of the targets, and the labels of these, int64 (K,), ascending.
    """
    classes = np.unique(target.label)
    table = np.zeros((len(thresholds), len(classes)))
    for column, matched in enumerate(_match_by_class(preds, target, classes, thresholds, ties, unknown)):
        table[:, column] = _area(matched.hit, len(matched.target_video))
    return table, classes


def resampled_precision(
    preds: EventTable,
    target: EventTable,
    counts: Floats,
    unit_of: Callable[[Ints], Ints],
    thresholds: Floats = THRESHOLDS,
    ties: Ties = "later_first",
    unknown: Unknown = "official",
) -> Floats:
    """Mean of `average_precision` over classes in sets of videos that are drawn from one.

    Videos are matched once: what is drawn is how often each counts. A class whose targets are in no drawn video is left
    out of the mean of that draw.

    Args:
        preds: Detections in row order.
        target: Targets without duplicates.
        counts: How often each unit of videos is taken in each draw, (R, N).
        unit_of: From numbers of videos to numbers of their units.
        thresholds: As in `average_precision`.
        ties: Likewise.
        unknown: Likewise.

    Returns:
        float64 (M, R); NaN for a draw without targets.
    """
    classes = np.unique(target.label)
    total = np.zeros((len(thresholds), len(counts)))
    present = np.zeros(len(counts))
    for matched in _match_by_class(preds, target, classes, thresholds, ties, unknown):
        targets = counts[:, unit_of(matched.target_video)].sum(1)
        present += targets > 0
        total += _weighted_areas(matched.hit, unit_of(matched.video), counts, targets)
    return np.divide(total, present, out=np.full_like(total, np.nan), where=present > 0)


@dataclass(frozen=True)
class _Matched:
    """The detections of a class by rank: whether each is correct, bool (n, M), its video, and the targets' videos."""

    hit: Flags
    video: Ints
    target_video: Ints


def _match_by_class(
    preds: EventTable, target: EventTable, classes: Ints, thresholds: Floats, ties: Ties, unknown: Unknown
) -> Iterator[_Matched]:
    preds, kind = _renumbered(preds, classes, unknown)
    order = _ranked(preds.score, ties)
    order = order[np.argsort(kind[order], kind="stable")]  # by class, within it by rank
    preds = preds.take(order)
    kind = kind[order]
    target_kind = np.searchsorted(classes, target.label)
    hit = _match(preds, kind, target, target_kind, thresholds)
    bounds = np.searchsorted(kind, np.arange(len(classes) + 1))
    for column in range(len(classes)):
        rows = slice(bounds[column], bounds[column + 1])
        yield _Matched(hit[rows], preds.video[rows], target.video[target_kind == column])


def _weighted_areas(hit: Flags, unit: Ints, counts: Floats, targets: Floats) -> Floats:
    """Average precision (M, R) of detections in rank order, bool (n, M), each of a unit that counts (R, N) times.

    The precision is highest at correct detections, so ranks are needed at these alone.
    """
    areas = np.zeros((hit.shape[1], len(counts)))
    places = np.flatnonzero(hit.any(1))
    if not len(places):
        return areas
    ranks = np.maximum(counts @ _detections_until(places, unit, counts.shape[1]), 1e-300)
    gained = counts[:, unit[places]]
    for row, correct in enumerate(hit[places].T):
        own = gained[:, correct]
        precision = own.cumsum(1) / ranks[:, correct]
        envelope = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        areas[row] = (own * envelope).sum(1)
    return np.divide(areas, targets, out=np.zeros_like(areas), where=targets > 0)


def _detections_until(places: Ints, unit: Ints, units: int) -> Floats:
    """Detections of each of N units up to each of P places in the rank order, float64 (N, P)."""
    last = int(places[-1]) + 1
    table = np.zeros((units, len(places)))
    np.add.at(table, (unit[:last], np.searchsorted(places, np.arange(last))), 1)
    return np.asarray(table.cumsum(1))


def _renumbered(preds: EventTable, classes: Ints, unknown: Unknown) -> tuple[EventTable, Ints]:
    """Detections, and the number of each one's label among the classes of the targets."""
    kind = np.searchsorted(classes, preds.label)
    is_class = np.zeros(len(kind), bool)
    if len(classes):
        is_class = classes[np.minimum(kind, len(classes) - 1)] == preds.label
    if unknown == "drop":
        return preds.take(is_class), kind[is_class]
    return preds, np.where(is_class, kind, preds.label)


def without_duplicates(span: Floats, label: Ints) -> Flags:
    """Which targets of one video to keep: no earlier kept one of the same class has both ends within 1 ms.

    Args:
        span: Start and end in seconds, (N, 2).
        label: Classes, (N,).
    """
    near = (np.abs(span[:, None] - span[None]) <= _DUPLICATE).all(-1) & (label[:, None] == label[None])
    keep = np.ones(len(label), bool)
    for i in np.flatnonzero(np.tril(near, -1).any(1)).tolist():
        keep[i] = not (near[i, :i] & keep[:i]).any()
    return keep


def temporal_iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of spans (..., 2), broadcast; 0 where both have no length."""
    overlap = np.maximum(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), 0)
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def localised(preds: EventTable, target: EventTable, threshold: float = 0.5) -> Flags:
    """Which true events are found: some detection of their class in their video has more than `threshold` IoU.

    Args:
        preds: Detections; all count, whatever their score.
        target: Targets without duplicates.
        threshold: Temporal IoU that has to be exceeded.

    Returns:
        bool (N,) for the N targets.
    """
    keys, group = np.unique(np.stack([target.video, target.label], 1), axis=0, return_inverse=True)
    if not len(keys):
        return np.zeros(0, bool)
    key = _row_numbers(keys, np.stack([preds.video, preds.label], 1))
    rows = np.flatnonzero(key >= 0)
    if not len(rows):
        return np.zeros(len(target.video), bool)
    own = _rows_by_group(key[rows], len(keys))[group.reshape(-1)]  # (N, most detections of a class in a video)
    iou = temporal_iou(preds.span[rows[own]], target.span[:, None])
    return np.asarray(((iou > threshold) & (own >= 0)).any(1))


def duration_bins(span: Floats, edges: Sequence[float]) -> Ints:
    """Number of the range (edges[i], edges[i + 1]] that the duration of each span (N, 2) lies in, -1 for none.

    Durations are rounded to milliseconds, so that 12.3 - 7.3 is no longer than 5.
    """
    duration = np.round(span[:, 1] - span[:, 0], 3)
    number = np.searchsorted(np.asarray(edges, np.float64), duration, side="left") - 1
    return np.where(number < len(edges) - 1, number, -1)


def _ranked(score: Floats, ties: Ties) -> Ints:
    """Rows by descending score."""
    if ties == "later_first":
        return np.argsort(score, kind="stable")[::-1]
    return np.argsort(-score, kind="stable")


def _match(preds: EventTable, kind: Ints, target: EventTable, target_kind: Ints, thresholds: Floats) -> Flags:
    """Which detections, given in rank order, are correct at each threshold, bool (N, M).

    Detections of one video and class depend on each other; those of different ones do not. So all groups advance at
    once: the n-th turn matches the n-th detection of every group.
    """
    hit = np.zeros((len(preds.video), len(thresholds)), bool)
    keys, target_group = np.unique(np.stack([target.video, target_kind], 1), axis=0, return_inverse=True)
    if not len(keys) or not len(hit):
        return hit
    targets = _rows_by_group(target_group.reshape(-1), len(keys))
    group = _row_numbers(keys, np.stack([preds.video, kind], 1))
    rows = np.flatnonzero(group >= 0)
    turns = _rows_by_group(group[rows], len(keys))
    free = np.broadcast_to((targets >= 0)[:, None], (len(keys), len(thresholds), targets.shape[1])).copy()
    for turn in range(turns.shape[1]):
        active = np.flatnonzero(turns[:, turn] >= 0)
        detections = rows[turns[active, turn]]
        iou = temporal_iou(preds.span[detections, None], target.span[targets[active]])
        eligible = free[active] & (iou[:, None] >= thresholds[:, None])
        # the highest IoU, of equals the later row: search from the back
        best = np.where(eligible, iou[:, None], -1.0)[..., ::-1].argmax(-1)
        best = targets.shape[1] - 1 - best
        correct = eligible.any(-1)
        hit[detections] = correct
        which, level = np.nonzero(correct)
        free[active[which], level, best[which, level]] = False
    return hit


def _row_numbers(keys: Ints, wanted: Ints) -> Ints:
    """Row of each of `wanted` (N, 2) in the sorted `keys` (G, 2), or -1."""
    joined, inverse = np.unique(np.concatenate([keys, wanted]), axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    number = np.full(len(joined), -1)
    number[inverse[: len(keys)]] = np.arange(len(keys))
    return np.asarray(number[inverse[len(keys) :]])


def _rows_by_group(group: Ints, groups: int) -> Ints:
    """Rows of each group side by side in their order, (groups, size of the largest), padded with -1."""
    order = np.argsort(group, kind="stable")
    count = np.bincount(group, minlength=groups)
    start = np.cumsum(count) - count
    column = np.empty(len(group), np.int64)
    column[order] = np.arange(len(group)) - start[group[order]]
    table = np.full((groups, int(count.max(initial=0))), -1)
    table[group, column] = np.arange(len(group))
    return table


def _area(hit: Flags, targets: int) -> Floats:
    """Average precision (M,) of detections in rank order, bool (n, M)."""
    if not len(hit):
        return np.zeros(hit.shape[1])
    correct = hit.cumsum(0, dtype=np.float64)
    ranks = np.arange(1, len(hit) + 1, dtype=np.float64)[:, None]
    envelope = np.maximum.accumulate((correct / ranks)[::-1], 0)[::-1]
    recall = correct / targets
    step = np.diff(recall, axis=0, prepend=0.0)
    return np.asarray((step * envelope).sum(0))
