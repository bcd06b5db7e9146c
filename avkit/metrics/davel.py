# SPDX-License-Identifier: Apache-2.0
"""Dense audio-visual event localisation (UnAV-100): mean average precision over temporal IoU thresholds.

Source:
    ttgeng233/UnAV at commit 1609deba4fba, `libs/utils/metrics.py` (`ANETdetection`), which CCNet shares.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avkit.errors import unknown_name
from avkit.metrics.base import ScoreMetric

#: The nine thresholds, as numpy spaces them (the third is 0.30000000000000004).
THRESHOLDS = np.linspace(0.1, 0.9, 9)
#: Two truths of a class whose ends both differ by no more are one, in seconds.
_SAME = 1e-3

Ties = Literal["later_first", "earlier_first"]
Unknown = Literal["official", "drop"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Events:
    """Events of many videos, one row each.

    Attributes:
        video: Number of the video, int64 (N,).
        span: Start and end in seconds, float64 (N, 2).
        label: Class, int64 (N,).
        score: Confidence, float64 (N,); not used for truths.
    """

    video: Ints
    span: Floats
    label: Ints
    score: Floats

    def take(self, rows: Any) -> "Events":
        """Some of the rows."""
        return Events(self.video[rows], self.span[rows], self.label[rows], self.score[rows])


def average_precision(
    found: Events,
    true: Events,
    thresholds: Floats = THRESHOLDS,
    ties: Ties = "later_first",
    unknown: Unknown = "official",
) -> tuple[Floats, Ints]:
    """Average precision of each class at each threshold.

    A detection takes, of the truths of its class in its video that are free and reach the threshold, the one of highest
    IoU (the later row of equals); the bookkeeping is apart for each threshold. The precision is made non-increasing and
    summed over all changes of recall.

    Args:
        found: Detections in row order.
        true: Truths without doubles, see `distinct`.
        thresholds: Temporal IoU, (M,); equality passes.
        ties: Which of detections with equal scores comes first.
        unknown: What happens to detections of a label that no truth has: `official` leaves them their number among the
            renumbered classes, where they may meet another class as false alarms; `drop` takes them out.

    Returns:
        float64 (M, K) for the K classes of the truths, and the labels of these, int64 (K,), ascending.
    """
    classes = np.unique(true.label)
    kind = np.searchsorted(classes, found.label)
    known = classes[np.minimum(kind, len(classes) - 1)] == found.label if len(classes) else np.zeros(len(kind), bool)
    if unknown == "drop":
        found, kind = found.take(known), kind[known]
    else:
        kind = np.where(known, kind, found.label)
    order = _ranked(found.score, ties)
    order = order[np.argsort(kind[order], kind="stable")]  # by class, within it by rank
    found, kind = found.take(order), kind[order]
    hit = _match(found, kind, true, np.searchsorted(classes, true.label), thresholds)
    bounds = np.searchsorted(kind, np.arange(len(classes) + 1))
    count = np.bincount(np.searchsorted(classes, true.label), minlength=len(classes))
    columns = [_area(hit[a:b], n) for a, b, n in zip(bounds[:-1], bounds[1:], count, strict=True)]
    return np.stack(columns, 1) if columns else np.zeros((len(thresholds), 0)), classes


def distinct(span: Floats, label: Ints) -> NDArray[np.bool_]:
    """Which truths of one video to keep: an earlier kept one of the same class may not have both ends within 1 ms.

    Args:
        span: Start and end in seconds, (N, 2).
        label: Classes, (N,).
    """
    near = (np.abs(span[:, None] - span[None]) <= _SAME).all(-1) & (label[:, None] == label[None])
    keep = np.ones(len(label), bool)
    for i in np.flatnonzero(np.tril(near, -1).any(1)).tolist():
        keep[i] = not (near[i, :i] & keep[:i]).any()
    return keep


def temporal_iou(a: Floats, b: Floats) -> Floats:
    """Overlap over union of spans (..., 2), broadcast; 0 where both have no length."""
    overlap = np.maximum(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), 0)
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def _ranked(score: Floats, ties: Ties) -> Ints:
    """Rows by descending score."""
    return np.argsort(score, kind="stable")[::-1] if ties == "later_first" else np.argsort(-score, kind="stable")


def _match(found: Events, kind: Ints, true: Events, true_kind: Ints, thresholds: Floats) -> NDArray[np.bool_]:
    """Which detections, given in rank order, are right at each threshold, bool (N, M).

    Detections of one video and class wait for each other; those of different ones do not. So all groups walk at once:
    the n-th turn handles the n-th detection of every group.
    """
    hit = np.zeros((len(found.video), len(thresholds)), bool)
    keys, truth_group = np.unique(np.stack([true.video, true_kind], 1), axis=0, return_inverse=True)
    truth_group = truth_group.reshape(-1)
    if not len(keys) or not len(hit):
        return hit
    group = _find(keys, np.stack([found.video, kind], 1))
    truths = _table(truth_group, len(keys))
    rows = np.flatnonzero(group >= 0)
    turns = _table(group[rows], len(keys))
    free = np.broadcast_to((truths >= 0)[:, None], (len(keys), len(thresholds), truths.shape[1])).copy()
    for column in range(turns.shape[1]):
        active = np.flatnonzero(turns[:, column] >= 0)
        at = rows[turns[active, column]]
        iou = temporal_iou(found.span[at, None], true.span[truths[active]])
        good = free[active] & (iou[:, None] >= thresholds[:, None])
        # the highest IoU, of equals the later row: search from the back
        best = np.where(good, iou[:, None], -1.0)[..., ::-1].argmax(-1)
        best = truths.shape[1] - 1 - best
        ok = good.any(-1)
        hit[at] = ok
        which, level = np.nonzero(ok)
        free[active[which], level, best[which, level]] = False
    return hit


def _find(keys: Ints, wanted: Ints) -> Ints:
    """Row of each of `wanted` (N, 2) in the sorted `keys` (G, 2), or -1."""
    joined, inverse = np.unique(np.concatenate([keys, wanted]), axis=0, return_inverse=True)
    number = np.full(len(joined), -1)
    inverse = inverse.reshape(-1)
    number[inverse[: len(keys)]] = np.arange(len(keys))
    return np.asarray(number[inverse[len(keys) :]])


def _table(group: Ints, groups: int) -> Ints:
    """Rows of each group side by side in their order, (groups, most), padded by -1."""
    order = np.argsort(group, kind="stable")
    count = np.bincount(group, minlength=groups)
    start = np.cumsum(count) - count
    place = np.empty(len(group), np.int64)
    place[order] = np.arange(len(group)) - start[group[order]]
    out = np.full((groups, int(count.max(initial=0))), -1)
    out[group, place] = np.arange(len(group))
    return out


def _area(hit: NDArray[np.bool_], truths: int) -> Floats:
    """Average precision (M,) of detections in rank order, bool (n, M)."""
    if not len(hit):
        return np.zeros(hit.shape[1])
    right = hit.cumsum(0, dtype=np.float64)
    ranks = np.arange(1, len(hit) + 1, dtype=np.float64)[:, None]
    envelope = np.maximum.accumulate((right / ranks)[::-1], 0)[::-1]
    recall = right / truths
    step = np.diff(recall, axis=0, prepend=0.0)
    return np.asarray((step * envelope).sum(0))


def precision_by_duration(
    found: Events, true: Events, edges: Sequence[float], threshold: float = 0.5, ties: Ties = "later_first"
) -> dict[str, float]:
    """Share of right detections among those of each duration.

    Args:
        found: Detections; all count, whatever their score.
        true: Truths without doubles.
        edges: Ascending durations in seconds that part the ranges; the last range has no upper end.
        threshold: Temporal IoU.
        ties: See `average_precision`.

    Returns:
        Precision by range such as `[0, 5)`, NaN where no detection falls.
    """
    order = _ranked(found.score, ties)
    found = found.take(order)
    hit = _match(found, found.label, true, true.label, np.array([threshold]))[:, 0]
    length = found.span[:, 1] - found.span[:, 0]
    limits = [*edges, float("inf")]
    out = {}
    for low, high in pairwise(limits):
        inside = (length >= low) & (length < high)
        out[f"[{low:g}, {high:g})"] = float(hit[inside].mean()) if inside.any() else float("nan")
    return out


class EventDetectionMAP(ScoreMetric):
    """mAP at tIoU 0.1 to 0.9 and their mean `Avg`, as published for UnAV-100.

    Classes are those of the truths; one without detections counts as 0. Videos are scored in the order of their names,
    so that equal scores fall out alike however the videos were batched or spread over processes.

    Args:
        ties: Which of detections with equal scores comes first, see `average_precision`.
        unknown: What happens to labels that no truth has, likewise.
        thresholds: Temporal IoU thresholds.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For an unknown rule or thresholds outside (0, 1].
    """

    found: list[Tensor]
    true: list[Tensor]

    def __init__(
        self,
        ties: Ties = "later_first",
        unknown: Unknown = "official",
        thresholds: Sequence[float] | Floats = THRESHOLDS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if ties not in ("later_first", "earlier_first"):
            raise unknown_name("rule for ties", ties, ("later_first", "earlier_first"))
        if unknown not in ("official", "drop"):
            raise unknown_name("rule for unknown labels", unknown, ("official", "drop"))
        self.thresholds = np.asarray(thresholds, np.float64)
        inside = (self.thresholds > 0) & (self.thresholds <= 1)
        if self.thresholds.ndim != 1 or not len(self.thresholds) or not inside.all():
            raise ValueError(f"thresholds={thresholds}; give a list of temporal IoUs above 0 and up to 1.")
        self.ties: Ties = ties
        self.unknown: Unknown = unknown
        for name in ("found", "true", "found_video", "true_video"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(
        self,
        videos: Sequence[str],
        found: Sequence[Mapping[str, Tensor]],
        true: Sequence[Mapping[str, Tensor]],
    ) -> None:
        """Add videos; each may be added once.

        Args:
            videos: Names.
            found: Detections of each video: `segments` (N, 2) start and end in seconds, `labels` (N,), `scores` (N,).
            true: Truths of each video: `segments` (N, 2) and `labels` (N,). Doubles are taken out, see `distinct`.

        Raises:
            ValueError: If lengths differ, a segment is reversed or starts before 0, a label is negative or a value is
                not finite.
        """
        if not len(videos) == len(found) == len(true):
            raise ValueError(
                f"{len(videos)} videos, {len(found)} of detections and {len(true)} of truths; give one each per video."
            )
        for name, detections, truths in zip(videos, found, true, strict=True):
            number = _number(name)
            guess = _rows(f"found[{name!r}]", detections, scored=True)
            truth = _rows(f"true[{name!r}]", truths, scored=False)
            keep = distinct(truth[:, :2].cpu().numpy(), truth[:, 2].long().cpu().numpy())
            truth = truth[torch.from_numpy(keep).to(truth.device)]
            for rows, kind in ((guess, "found"), (truth, "true")):
                getattr(self, kind).append(rows.to(self.device))
                getattr(self, f"{kind}_video").append(torch.full((len(rows),), number, device=self.device))

    def compute(self) -> dict[str, float]:
        """`mAP@0.1` to `mAP@0.9` and `Avg` in [0, 1]; NaN where there is no truth."""
        found, true = self.events()
        table, _ = average_precision(found, true, self.thresholds, self.ties, self.unknown)
        means = table.mean(1) if table.shape[1] else np.full(len(self.thresholds), np.nan)
        values = {f"mAP@{t:g}": float(m) for t, m in zip(self.thresholds, means, strict=True)}
        return {**values, "Avg": float(means.mean())}

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the events of all ranks."""
        for name in ("found", "true", "found_video", "true_video"):
            if isinstance(getattr(self, name), list) and not getattr(self, name):
                # torchmetrics would stand in float32 for a rank without data, which cannot be gathered with these
                getattr(self, name).append(_nothing(name).to(self.device))
        super().sync(*args, **kwargs)

    def events(self) -> tuple[Events, Events]:
        """All detections and all truths so far, by the names of videos."""
        return self._events("found"), self._events("true")

    def _events(self, kind: str) -> Events:
        rows, video = (self._joined(name) for name in (kind, f"{kind}_video"))
        order = np.argsort(video, kind="stable")
        rows, video = rows[order], video[order]
        return Events(video, rows[:, :2], rows[:, 2].astype(np.int64), rows[:, 3])

    def _joined(self, name: str) -> NDArray[Any]:
        parts = getattr(self, name)
        if isinstance(parts, Tensor):  # after a reduction over processes
            parts = [parts]
        return torch.cat([p.cpu() for p in parts] or [_nothing(name)]).numpy()


def _nothing(state: str) -> Tensor:
    """What a state is before the first event."""
    return torch.zeros(0, dtype=torch.long) if state.endswith("video") else torch.zeros(0, 4, dtype=torch.double)


def _number(name: str) -> int:
    """A number for a video's name, the same in every process."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def _rows(what: str, events: Mapping[str, Tensor], scored: bool) -> Tensor:
    """Checked events as float64 (N, 4): start, end, label, score."""
    lacking = [key for key in ("segments", "labels", *(["scores"] if scored else [])) if key not in events]
    if lacking:
        raise ValueError(f"{what} has no {', '.join(lacking)}; it has {', '.join(events) or 'nothing'}.")
    segments, labels = events["segments"], events["labels"]
    scores = events["scores"] if scored else torch.zeros(len(labels), device=labels.device)
    if segments.ndim != 2 or segments.shape[1] != 2 or not len(segments) == len(labels) == len(scores):
        raise ValueError(
            f"{what} has segments {tuple(segments.shape)}, {len(labels)} labels and {len(scores)} scores; give "
            "segments (N, 2) and as many labels" + (" and scores." if scored else ".")
        )
    wide = segments.double()
    if not bool(wide.isfinite().all()) or not bool(scores.isfinite().all()):
        raise ValueError(f"{what} has a time or a score that is not finite.")
    wrong = (wide[:, 0] < 0) | (wide[:, 1] < wide[:, 0])
    if bool(wrong.any()):
        raise ValueError(f"{what} has segment {wide[wrong][0].tolist()}; give 0 <= start <= end in seconds.")
    if labels.is_floating_point() or bool((labels < 0).any()):
        raise ValueError(f"{what} has {labels.dtype} labels {labels[:8].tolist()}; give whole numbers from 0.")
    return torch.cat([wide, labels.double()[:, None], scores.double()[:, None].to(wide.device)], 1)
