# SPDX-License-Identifier: Apache-2.0
"""From dense event scores to few events: decoding of a level, soft and hard suppression, score voting.

All of it works on numpy arrays in float32, as the official code does, and for all classes at once.

Source:
    ttgeng233/UnAV at commit 1609deba4fba, `libs/utils/nms.py` and `libs/utils/csrc/nms_cpu.cpp`;
    happyharrycn/actionformer_release at commit 61ea7eb9308a for the other form of voting.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from avkit.errors import unknown_name

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Method = Literal["gaussian", "linear", "hard"]
#: Segments (N, 2), scores (N,) and labels (N,) of one video.
Detections = tuple[Floats, Floats, Ints]

#: Added to the length of a segment, in its own unit.
_LENGTH = np.float32(1e-6)
_METHODS = ("gaussian", "linear", "hard")


def soft_nms(
    segments: Floats,
    scores: Floats,
    sigma: float = 0.4,
    min_score: float = 0.001,
    method: Method = "gaussian",
    iou: float = 0.7,
    labels: Ints | None = None,
    most: int | None = None,
) -> tuple[Ints, Floats]:
    """Take the best segment, lower the scores of those that overlap it, and again.

    A segment is dropped once its lowered score is below `min_score`, by putting the last of the list in its place; so
    equals come out in an order that depends on what was dropped, which is kept. The first pick is never dropped.

    Args:
        segments: Start and end, (N, 2), in any unit.
        scores: (N,).
        sigma: Width of the gaussian, which lowers by `exp(-IoU^2 / sigma)` at any overlap.
        min_score: See above.
        method: `linear` multiplies by `1 - IoU` and `hard` by 0, both where the IoU reaches `iou`.
        iou: Of the linear and the hard method.
        labels: Class of each segment, (N,); classes do not touch one another. None is one class.
        most: Most picks of a class.

    Returns:
        Rows taken, class by class in ascending order and within it in order of taking, int64 (M,), and the scores at
        which they were taken, float32 (M,).

    Raises:
        ValueError: If shapes do not fit, a segment is reversed, a value is not finite or the method is unknown.
    """
    segments, scores, labels = _checked(segments, scores, labels)
    if method not in _METHODS:
        raise unknown_name("method", method, _METHODS)
    if not len(scores):
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    state = _Groups(segments, scores, labels)
    state.run(np.float32(sigma), np.float32(min_score), method, np.float32(iou), most)
    return state.taken()


class _Groups:
    """Segments of each class in a row, the largest class first; columns before the turn are taken, the rest wait."""

    def __init__(self, segments: Floats, scores: Floats, labels: Ints) -> None:
        by_label = np.argsort(labels, kind="stable")
        new = np.flatnonzero(np.diff(labels[by_label], prepend=labels[by_label[0]] - 1))
        count = np.diff(new, append=len(labels))
        self.order = np.argsort(-count, kind="stable")
        self.left = count[self.order]
        rank = np.empty(len(count), np.int64)
        rank[self.order] = np.arange(len(count))
        row, column = np.repeat(rank, count), np.arange(len(labels)) - np.repeat(new, count)
        shape = (len(count), int(self.left.max()))
        # one array, so that segments change places in one go; float32 holds row numbers up to 16 million exactly
        self.planes = np.zeros((5, *shape), np.float32)
        self.start, self.end, self.length, self.score, self.index = self.planes
        self.score[:] = -np.inf
        at = row * shape[1] + column
        flat = self.planes.reshape(5, -1)
        flat[0, at], flat[1, at] = segments[by_label].T
        flat[3, at], flat[4, at] = scores[by_label], by_label
        np.subtract(self.end, self.start, out=self.length)
        self.length += _LENGTH

    def run(self, sigma: np.float32, min_score: np.float32, method: Method, iou: np.float32, most: int | None) -> None:
        """Take until nothing is left, or `most` of each class."""
        for turn in range(self.score.shape[1] if most is None else min(most, self.score.shape[1])):
            rows = np.flatnonzero(self.left > turn)
            if not len(rows):
                break
            last = int(rows[-1]) + 1  # classes are sorted by size, so those left are nearly the first ones
            wide = int(self.left[:last].max())
            self._pick(turn, rows, wide)
            if wide > turn + 1:
                self._lower(turn, last, wide, sigma, min_score, method, iou)
        self.left = np.minimum(self.left, self.score.shape[1] if most is None else most)

    def taken(self) -> tuple[Ints, Floats]:
        """Rows and scores, class by class."""
        keep = np.arange(self.score.shape[1]) < self.left[:, None]
        back = np.argsort(self.order)
        keep, index, score = keep[back], self.index[back], self.score[back]
        return index[keep].astype(np.int64), score[keep]

    def _pick(self, turn: int, rows: Ints, wide: int) -> None:
        """Bring the best of each row to column `turn`; the first of equals."""
        best = turn + self.score[rows, turn:wide].argmax(1)
        moved = best != turn
        if moved.any():
            rows, best = rows[moved], best[moved]
            chosen = self.planes[:, rows, best]
            self.planes[:, rows, best] = self.planes[:, rows, turn]
            self.planes[:, rows, turn] = chosen

    def _lower(
        self, turn: int, last: int, wide: int, sigma: np.float32, min_score: np.float32, method: Method, iou: np.float32
    ) -> None:
        """Lower what waits behind column `turn` and drop what falls too low."""
        rest = (slice(0, last), slice(turn + 1, wide))
        one = (slice(0, last), slice(turn, turn + 1))
        shared = np.minimum(self.end[one], self.end[rest]) - np.maximum(self.start[one], self.start[rest])
        np.maximum(shared, 0, out=shared)
        shared /= self.length[one] + self.length[rest] - shared
        if method == "gaussian":
            np.multiply(shared, shared, out=shared)
            shared /= -sigma
            weight = np.exp(shared, out=shared)
        else:
            weight = np.where(shared >= iou, 1 - shared if method == "linear" else np.float32(0), np.float32(1))
        score = self.score[rest]
        waiting = np.arange(turn + 1, wide) < self.left[:last, None]
        with np.errstate(invalid="ignore"):
            score *= weight
        np.fmax(score, -np.inf, out=score)  # an empty place stays empty: -inf times a weight of 0 is NaN
        low = score < min_score
        low &= waiting
        if low.any():
            self.left[:last] -= low.sum(1)
            self._drop(turn, last, wide, low, waiting)

    def _drop(self, turn: int, last: int, wide: int, low: NDArray[np.bool_], waiting: NDArray[np.bool_]) -> None:
        """Fill each hole with the last that still waits, from the front to the back."""
        inside = np.arange(turn + 1, wide) < self.left[:last, None]
        hole = np.nonzero(low & inside)
        row, back = np.nonzero((waiting > (low | inside))[:, ::-1])
        part = self.planes[:, :last, turn + 1 : wide]
        if len(row):
            part[:, hole[0], hole[1]] = part[:, row, wide - turn - 2 - back]
        np.copyto(part[3], -np.inf, where=~inside)


def hard_nms(
    segments: Floats, scores: Floats, iou: float = 0.7, labels: Ints | None = None, most: int | None = None
) -> Ints:
    """Take the best segment, leave out those whose IoU with it reaches `iou`, and again.

    Equal scores are taken in the order of torch's descending sort, which is the official one and not stable.

    Args:
        segments: Start and end, (N, 2).
        scores: (N,).
        iou: Threshold; equality suppresses.
        labels: Class of each segment; classes do not touch one another. None is one class.
        most: Most picks of a class.

    Returns:
        Rows taken, class by class and within it by score, int64 (M,).
    """
    segments, scores, labels = _checked(segments, scores, labels)
    taken: list[Ints] = []
    for kind in np.unique(labels):
        rows = np.flatnonzero(labels == kind)
        rows = rows[torch.from_numpy(scores[rows]).sort(0, descending=True).indices.numpy()]
        taken.append(rows[_walk(segments[rows], np.float32(iou))][:most])
    return np.concatenate(taken) if taken else np.zeros(0, np.int64)


def _walk(segments: Floats, iou: np.float32) -> NDArray[np.bool_]:
    """Which of segments in rank order stay."""
    overlaps = _iou(segments, segments) >= iou
    keep = np.ones(len(segments), bool)
    for i in range(len(segments)):
        if keep[i]:
            keep[i + 1 :] &= ~overlaps[i, i + 1 :]
    return keep


def _iou(a: Floats, b: Floats) -> Floats:
    """IoU of each of a (N, 2) with each of b (M, 2), with the length that all of this file uses."""
    shared = np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])
    shared = np.maximum(shared, 0)
    long_a, long_b = (x[:, 1] - x[:, 0] + _LENGTH for x in (a, b))
    return np.asarray(shared / (long_a[:, None] + long_b[None] - shared))


def vote(
    segments: Floats, every: Floats, scores: Floats, threshold: float = 0.75, weigh_by_iou: bool = False
) -> Floats:
    """Move each segment to the mean of all that overlap it, weighed by their scores.

    Args:
        segments: Those taken, (M, 2).
        every: Those before suppression, (N, 2).
        scores: Of `every`, (N,).
        threshold: IoU from which a segment has a vote.
        weigh_by_iou: Multiply the votes by the IoU, as ActionFormer does and UnAV does not.

    Returns:
        float32 (M, 2).
    """
    if not len(segments) or not len(every):
        return np.asarray(segments, np.float32)
    overlap = _votes_iou(np.asarray(segments, np.float32), np.asarray(every, np.float32))
    weight = (overlap >= np.float32(threshold)) * np.asarray(scores, np.float32)[None]
    if weigh_by_iou:
        weight = weight * overlap
    total = weight.sum(1, keepdims=True)
    moved = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0) @ np.asarray(every, np.float32)
    return np.asarray(np.where(total > 0, moved, segments), np.float32)


def _votes_iou(a: Floats, b: Floats) -> Floats:
    shared = np.maximum(np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0]), 0)
    union = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None] - shared
    return np.asarray(shared / np.where(union == 0, np.float32(1), union))


def suppress(
    videos: Sequence[Detections],
    soft: bool = True,
    multiclass: bool = True,
    sigma: float = 0.4,
    min_score: float = 0.001,
    iou: float = 0.7,
    most: int = 100,
    voting: float = 0.0,
    weigh_by_iou: bool = False,
) -> list[Detections]:
    """The whole post-processing of videos, as UnAV and CCNet configure it.

    Args:
        videos: Segments (N, 2), scores (N,) and labels (N,) of each. They do not touch one another; ten in one call
            take less than half the time of ten calls.
        soft: Gaussian `soft_nms`; else `hard_nms` of those above `min_score`.
        multiclass: Each class for itself; else all together, and `voting` counts.
        sigma: Of the gaussian.
        min_score: See `soft_nms`.
        iou: Of hard suppression.
        most: Most segments of a class, and of the video.
        voting: IoU of `vote`, 0 for none; officially it does nothing where `multiclass` is on.
        weigh_by_iou: See `vote`.

    Returns:
        Of each video segments (M, 2), scores (M,) and labels (M,) by descending score, at most `most`.

    Raises:
        ValueError: As `soft_nms`.
    """
    if not videos:
        return []
    given = [_checked(*video) for video in videos]
    segments, scores, labels = (np.concatenate(part) for part in zip(*given, strict=True))
    video = np.repeat(np.arange(len(given)), [len(part[1]) for part in given])
    groups = video * (np.ptp(labels) + 1) + labels - labels.min() if multiclass and len(labels) else video
    if soft:
        rows, kept = soft_nms(segments, scores, sigma, min_score, "gaussian", iou, groups, most)
    else:
        enough = np.flatnonzero(scores > np.float32(min_score))
        rows = enough[hard_nms(segments[enough], scores[enough], iou, groups[enough], most)]
        kept = scores[rows]
    out = []
    for number, (every, weights, _) in enumerate(given):
        mine = np.flatnonzero(video[rows] == number)
        mine = mine[np.argsort(-kept[mine], kind="stable")[:most]]
        chosen = segments[rows[mine]]
        if voting > 0 and not multiclass:
            chosen = vote(chosen, every, weights, voting, weigh_by_iou)
        out.append((chosen, kept[mine], labels[rows[mine]]))
    return out


def to_seconds(segments: Floats, stride: float, window: float, rate: float, duration: float | None = None) -> Floats:
    """Feature steps to seconds: `(segment * stride + window / 2) / rate`, cut to the video.

    Args:
        segments: Start and end in feature steps, (N, 2).
        stride: Frames between two features (UnAV-100: 8).
        window: Frames a feature covers (24).
        rate: Frames per second (25).
        duration: Of the video in seconds; None leaves the ends alone.
    """
    seconds = (np.asarray(segments, np.float32) * np.float32(stride) + np.float32(0.5 * window)) / np.float32(rate)
    return np.asarray(seconds if duration is None else seconds.clip(0, duration), np.float32)


def candidates(
    probability: Floats,
    offsets: Floats,
    points: Floats,
    stride: float,
    min_score: float = 0.001,
    most: int = 2000,
    min_length: float = 0.05,
) -> tuple[Floats, Floats, Ints]:
    """The likeliest segments of one pyramid level, before suppression.

    Args:
        probability: Of every class at every point, (T, K).
        offsets: Distance from the point to start and end in units of the level, (T, 2), or (T, K, 2) per class.
        points: Places of the points in feature steps, (T,).
        stride: Feature steps per unit of the level.
        min_score: Only those above it.
        most: At most as many, the likeliest.
        min_length: Only segments longer than this, in feature steps.

    Returns:
        Segments in feature steps (N, 2), scores (N,), labels (N,), by descending score.
    """
    flat = np.asarray(probability, np.float32).reshape(-1)
    rows = np.flatnonzero(flat > np.float32(min_score))
    rows = rows[np.argsort(-flat[rows], kind="stable")[:most]]
    point, label = np.divmod(rows, probability.shape[1])
    reach = (offsets[point, label] if offsets.ndim == 3 else offsets[point]) * np.float32(stride)
    segments = np.stack([points[point] - reach[:, 0], points[point] + reach[:, 1]], 1).astype(np.float32)
    keep = segments[:, 1] - segments[:, 0] > np.float32(min_length)
    return segments[keep], flat[rows][keep], label[keep]


def _checked(segments: Floats, scores: Floats, labels: Ints | None) -> tuple[Floats, Floats, Ints]:
    segments, scores = np.asarray(segments, np.float32), np.asarray(scores, np.float32)
    labels = np.zeros(len(scores), np.int64) if labels is None else np.asarray(labels)
    if segments.ndim != 2 or segments.shape[1] != 2 or not len(segments) == len(scores) == len(labels):
        raise ValueError(
            f"segments {segments.shape}, scores {scores.shape} and labels {labels.shape}; give segments (N, 2) and as "
            "many scores and labels."
        )
    if not np.isfinite(segments).all() or not np.isfinite(scores).all():
        raise ValueError("segments or scores have values that are not finite.")
    if (segments[:, 1] < segments[:, 0]).any():
        bad = segments[segments[:, 1] < segments[:, 0]][0].tolist()
        raise ValueError(f"segments has {bad}; give start <= end.")
    return segments, scores, labels
