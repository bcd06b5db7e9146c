# SPDX-License-Identifier: Apache-2.0
"""Soft non-maximum suppression of segments in time, for all classes at once.

It works on numpy arrays in float32, as the official code does.

Source:
    ttgeng233/UnAV at commit 1609deba4fba, `libs/utils/nms.py` and `libs/utils/csrc/nms_cpu.cpp`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from avkit.errors import unknown_name

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Method = Literal["gaussian", "linear", "hard"]

#: Added to the length of a segment, in its own unit.
LENGTH_EPSILON = np.float32(1e-6)
_METHODS = ("gaussian", "linear", "hard")


@dataclass(frozen=True)
class _Decay:
    """How the score of a segment that overlaps a picked one is lowered; see `soft_nms` for the attributes."""

    method: Method
    sigma: np.float32
    min_score: np.float32
    iou_threshold: np.float32

    def weight(self, iou: Floats) -> Floats:
        """Factor for each score by its IoU with the picked segment; the array `iou` is overwritten."""
        if self.method == "gaussian":
            np.multiply(iou, iou, out=iou)
            iou /= -self.sigma
            return np.exp(iou, out=iou)
        suppressed = 1 - iou if self.method == "linear" else np.float32(0)
        return np.where(iou >= self.iou_threshold, suppressed, np.float32(1))


def soft_nms(
    segments: Floats,
    scores: Floats,
    sigma: float = 0.4,
    min_score: float = 0.001,
    method: Method = "gaussian",
    iou_threshold: float = 0.7,
    labels: Ints | None = None,
    max_per_class: int | None = None,
) -> tuple[Ints, Floats]:
    """Repeatedly pick the segment of the highest score and lower the scores of those that overlap it.

    A segment is dropped once its lowered score is below `min_score`. As in the official code, the last segment of the
    list takes its place, so the order of equal scores depends on what was dropped. The first pick is never dropped.

    Args:
        segments: Start and end, (N, 2), in any unit.
        scores: Score of each segment, (N,).
        sigma: Width of the gaussian, which multiplies by `exp(-IoU^2 / sigma)` at any overlap.
        min_score: Segments whose lowered score is below it are dropped.
        method: `linear` multiplies by `1 - IoU` and `hard` by 0, both where the IoU reaches `iou_threshold`.
        iou_threshold: For the linear and the hard method.
        labels: Class of each segment, (N,); classes do not suppress one another. None is one class.
        max_per_class: Maximum number of picks per class.

    Returns:
        Rows picked, class by class in ascending order and within a class in order of picking, int64 (M,), and the
        scores at which they were picked, float32 (M,).

    Raises:
        ValueError: If shapes do not fit, a segment is reversed, a value is not finite or the method is unknown.
    """
    segments, scores, labels = check_events(segments, scores, labels)
    if method not in _METHODS:
        raise unknown_name("method", method, _METHODS)
    if not len(scores):
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    decay = _Decay(method, np.float32(sigma), np.float32(min_score), np.float32(iou_threshold))
    table = _SegmentTable(segments, scores, labels)
    table.run(decay, max_per_class)
    return table.picks()


class _SegmentTable:
    """The segments of each class in one row, the largest class first.

    Columns before the current turn hold the picks, the columns after it hold the segments that remain.
    """

    def __init__(self, segments: Floats, scores: Floats, labels: Ints) -> None:
        by_label = np.argsort(labels, kind="stable")
        first = np.flatnonzero(np.diff(labels[by_label], prepend=labels[by_label[0]] - 1))
        count = np.diff(first, append=len(labels))
        self.order = np.argsort(-count, kind="stable")
        self.remaining = count[self.order]
        rank = np.empty(len(count), np.int64)
        rank[self.order] = np.arange(len(count))
        row = np.repeat(rank, count)
        column = np.arange(len(labels)) - np.repeat(first, count)
        self.columns = int(self.remaining.max())
        # one array, so that segments are swapped in one operation; float32 holds row numbers up to 16 million exactly
        self.planes = np.zeros((5, len(count), self.columns), np.float32)
        self.start, self.end, self.length, self.score, self.index = self.planes
        self.score[:] = -np.inf
        self.start[row, column] = segments[by_label, 0]
        self.end[row, column] = segments[by_label, 1]
        self.score[row, column] = scores[by_label]
        self.index[row, column] = by_label
        np.subtract(self.end, self.start, out=self.length)
        self.length += LENGTH_EPSILON

    def run(self, decay: _Decay, max_per_class: int | None) -> None:
        """Pick until nothing remains, or `max_per_class` of each class."""
        turns = self.columns if max_per_class is None else min(max_per_class, self.columns)
        for turn in range(turns):
            rows = np.flatnonzero(self.remaining > turn)
            if not len(rows):
                break
            last = int(rows[-1]) + 1  # classes are sorted by size, so those that remain are nearly the first ones
            width = int(self.remaining[:last].max())
            self._pick(turn, rows, width)
            if width > turn + 1:
                self._lower(turn, last, width, decay)
        self.remaining = np.minimum(self.remaining, turns)

    def picks(self) -> tuple[Ints, Floats]:
        """Rows and scores of the picks, class by class."""
        keep = np.arange(self.columns) < self.remaining[:, None]
        by_class = np.argsort(self.order)
        keep = keep[by_class]
        rows = self.index[by_class][keep].astype(np.int64)
        return rows, self.score[by_class][keep]

    def _pick(self, turn: int, rows: Ints, width: int) -> None:
        """Swap the best of each row into column `turn`; of equal scores the first."""
        best = turn + self.score[rows, turn:width].argmax(1)
        moved = best != turn
        if moved.any():
            rows = rows[moved]
            best = best[moved]
            chosen = self.planes[:, rows, best]
            self.planes[:, rows, best] = self.planes[:, rows, turn]
            self.planes[:, rows, turn] = chosen

    def _lower(self, turn: int, last: int, width: int, decay: _Decay) -> None:
        """Lower the scores of what remains behind column `turn` and drop what falls too low."""
        score = self.score[:last, turn + 1 : width]
        weight = decay.weight(self._iou(turn, last, width))
        remains = np.arange(turn + 1, width) < self.remaining[:last, None]
        with np.errstate(invalid="ignore"):
            score *= weight
        np.fmax(score, -np.inf, out=score)  # an empty place stays empty: -inf times a weight of 0 is NaN
        low = score < decay.min_score
        low &= remains
        if low.any():
            self.remaining[:last] -= low.sum(1)
            self._drop(turn, last, width, low, remains)

    def _iou(self, turn: int, last: int, width: int) -> Floats:
        """IoU of the pick in column `turn` with all that remains in its row."""
        rest = (slice(0, last), slice(turn + 1, width))
        pick = (slice(0, last), slice(turn, turn + 1))
        shared = np.minimum(self.end[pick], self.end[rest]) - np.maximum(self.start[pick], self.start[rest])
        np.maximum(shared, 0, out=shared)
        shared /= self.length[pick] + self.length[rest] - shared
        return shared

    def _drop(self, turn: int, last: int, width: int, low: Flags, remains: Flags) -> None:
        """Fill each gap with the last segment that still remains, from the front to the back."""
        inside = np.arange(turn + 1, width) < self.remaining[:last, None]
        gap_row, gap_column = np.nonzero(low & inside)
        row, from_end = np.nonzero((remains > (low | inside))[:, ::-1])
        part = self.planes[:, :last, turn + 1 : width]
        if len(row):
            part[:, gap_row, gap_column] = part[:, row, width - turn - 2 - from_end]
        np.copyto(part[3], -np.inf, where=~inside)


def check_events(segments: Floats, scores: Floats, labels: Ints | None) -> tuple[Floats, Floats, Ints]:
    """Segments (N, 2), scores (N,) and labels (N,) as arrays; ValueError if they do not fit or are not finite."""
    segments = np.asarray(segments, np.float32)
    scores = np.asarray(scores, np.float32)
    labels = np.zeros(len(scores), np.int64) if labels is None else np.asarray(labels)
    if segments.ndim != 2 or segments.shape[1] != 2 or not len(segments) == len(scores) == len(labels):
        raise ValueError(
            f"segments {segments.shape}, scores {scores.shape} and labels {labels.shape}; give segments (N, 2) and as "
            "many scores and labels."
        )
    if not np.isfinite(segments).all() or not np.isfinite(scores).all():
        raise ValueError("segments or scores have values that are not finite.")
    reversed_rows = segments[:, 1] < segments[:, 0]
    if reversed_rows.any():
        raise ValueError(f"segments has {segments[reversed_rows][0].tolist()}; give start <= end.")
    return segments, scores, labels
