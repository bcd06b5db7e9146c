# SPDX-License-Identifier: Apache-2.0
"""From dense event scores to few events: decoding of a pyramid level, suppression of overlaps, score voting.

All of it works on numpy arrays in float32, as the official code does, and for all classes at once.

Source:
    ttgeng233/UnAV at commit 1609deba4fba, `libs/utils/nms.py` and `libs/utils/csrc/nms_cpu.cpp`;
    happyharrycn/actionformer_release at commit 61ea7eb9308a for the other form of voting.
"""

from collections.abc import Sequence

import numpy as np
import torch

from avkit.nn.soft_nms import LENGTH_EPSILON, Flags, Floats, Ints, check_events, soft_nms

#: Segments (N, 2), scores (N,) and labels (N,) of one video.
Detections = tuple[Floats, Floats, Ints]


def decode_level(
    probability: Floats,
    offsets: Floats,
    points: Floats,
    stride: float,
    min_score: float = 0.001,
    max_candidates: int = 2000,
    min_length: float = 0.05,
) -> Detections:
    """Decode the most probable segments of one pyramid level, before suppression.

    Args:
        probability: Of every class at every point, (T, K).
        offsets: Distance from the point to start and end in units of the level, (T, 2), or (T, K, 2) per class.
        points: Positions of the points in feature steps, (T,).
        stride: Feature steps per unit of the level.
        min_score: Only probabilities above it are decoded.
        max_candidates: Maximum number of segments; the most probable are kept.
        min_length: Only segments longer than this are kept, in feature steps.

    Returns:
        Segments in feature steps (N, 2), scores (N,), labels (N,), by descending score.
    """
    flat = np.asarray(probability, np.float32).reshape(-1)
    rows = np.flatnonzero(flat > np.float32(min_score))
    rows = rows[np.argsort(-flat[rows], kind="stable")[:max_candidates]]
    point, label = np.divmod(rows, probability.shape[1])
    distance = offsets[point, label] if offsets.ndim == 3 else offsets[point]
    distance = distance * np.float32(stride)
    start = points[point] - distance[:, 0]
    end = points[point] + distance[:, 1]
    segments = np.stack([start, end], 1).astype(np.float32)
    keep = segments[:, 1] - segments[:, 0] > np.float32(min_length)
    return segments[keep], flat[rows][keep], label[keep]


def suppress_events(
    videos: Sequence[Detections],
    soft: bool = True,
    multiclass: bool = True,
    sigma: float = 0.4,
    min_score: float = 0.001,
    iou_threshold: float = 0.7,
    max_events: int = 100,
    voting: float = 0.0,
    weigh_by_iou: bool = False,
) -> list[Detections]:
    """Suppress overlapping events of videos: the whole post-processing as UnAV and CCNet configure it.

    Args:
        videos: Segments (N, 2), scores (N,) and labels (N,) of each. Videos do not affect one another; ten in one call
            take less than half the time of ten calls.
        soft: Gaussian `soft_nms`; else `hard_nms` of those above `min_score`.
        multiclass: Suppress within each class; else across all classes, and `voting` counts.
        sigma: Width of the gaussian.
        min_score: See `soft_nms`.
        iou_threshold: For hard suppression.
        max_events: Maximum number of segments of a class, and of the video.
        voting: IoU threshold of `vote_segments`, 0 for none; officially it has no effect where `multiclass` is on.
        weigh_by_iou: See `vote_segments`.

    Returns:
        Of each video segments (M, 2), scores (M,) and labels (M,) by descending score, at most `max_events`.

    Raises:
        ValueError: As `soft_nms`.
    """
    if not videos:
        return []
    checked = [check_events(*video) for video in videos]
    segments, scores, labels, video = _concatenate(checked)
    groups = video
    if multiclass and len(labels):
        groups = video * (np.ptp(labels) + 1) + labels - labels.min()
    if soft:
        rows, kept = soft_nms(segments, scores, sigma, min_score, "gaussian", iou_threshold, groups, max_events)
    else:
        above = np.flatnonzero(scores > np.float32(min_score))
        rows = above[hard_nms(segments[above], scores[above], iou_threshold, groups[above], max_events)]
        kept = scores[rows]
    results = []
    for number, (all_segments, all_scores, _) in enumerate(checked):
        own = np.flatnonzero(video[rows] == number)
        own = own[np.argsort(-kept[own], kind="stable")[:max_events]]
        chosen = segments[rows[own]]
        if voting > 0 and not multiclass:
            chosen = vote_segments(chosen, all_segments, all_scores, voting, weigh_by_iou)
        results.append((chosen, kept[own], labels[rows[own]]))
    return results


def _concatenate(videos: Sequence[Detections]) -> tuple[Floats, Floats, Ints, Ints]:
    """Segments, scores and labels of all videos, and the number of the video of each."""
    segments, scores, labels = zip(*videos, strict=True)
    lengths = [len(part) for part in scores]
    numbers = np.repeat(np.arange(len(videos)), lengths)
    return np.concatenate(segments), np.concatenate(scores), np.concatenate(labels), numbers


def hard_nms(
    segments: Floats,
    scores: Floats,
    iou_threshold: float = 0.7,
    labels: Ints | None = None,
    max_per_class: int | None = None,
) -> Ints:
    """Repeatedly pick the segment of the highest score and remove those whose IoU with it reaches the threshold.

    Equal scores are picked in the order of torch's descending sort, which is the official one and not stable.

    Args:
        segments: Start and end, (N, 2).
        scores: Score of each segment, (N,).
        iou_threshold: Equality suppresses.
        labels: Class of each segment; classes do not suppress one another. None is one class.
        max_per_class: Maximum number of picks per class.

    Returns:
        Rows picked, class by class and within a class by descending score, int64 (M,).
    """
    segments, scores, labels = check_events(segments, scores, labels)
    picked: list[Ints] = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rows = rows[torch.from_numpy(scores[rows]).sort(0, descending=True).indices.numpy()]
        picked.append(rows[_unsuppressed(segments[rows], np.float32(iou_threshold))][:max_per_class])
    return np.concatenate(picked) if picked else np.zeros(0, np.int64)


def _unsuppressed(segments: Floats, iou_threshold: np.float32) -> Flags:
    """Which of the segments, given by descending score, no earlier kept one suppresses."""
    overlaps = _iou(segments, segments) >= iou_threshold
    keep = np.ones(len(segments), bool)
    for i in range(len(segments)):
        if keep[i]:
            keep[i + 1 :] &= ~overlaps[i, i + 1 :]
    return keep


def _iou(a: Floats, b: Floats) -> Floats:
    """IoU of each of a (N, 2) with each of b (M, 2), of lengths with `LENGTH_EPSILON` added."""
    shared = np.maximum(_shared(a, b), 0)
    length_a = a[:, 1] - a[:, 0] + LENGTH_EPSILON
    length_b = b[:, 1] - b[:, 0] + LENGTH_EPSILON
    return np.asarray(shared / (length_a[:, None] + length_b[None] - shared))


def _shared(a: Floats, b: Floats) -> Floats:
    """Length that each of a (N, 2) shares with each of b (M, 2); negative where they are apart."""
    return np.minimum(a[:, None, 1], b[None, :, 1]) - np.maximum(a[:, None, 0], b[None, :, 0])


def vote_segments(
    segments: Floats,
    all_segments: Floats,
    all_scores: Floats,
    iou_threshold: float = 0.75,
    weigh_by_iou: bool = False,
) -> Floats:
    """Replace each segment by the mean of all segments that overlap it, weighted by their scores.

    Args:
        segments: Segments after suppression, (M, 2).
        all_segments: Segments before suppression, (N, 2).
        all_scores: Scores of `all_segments`, (N,).
        iou_threshold: IoU from which a segment has a vote.
        weigh_by_iou: Multiply the votes by the IoU, as ActionFormer does and UnAV does not.

    Returns:
        float32 (M, 2).
    """
    segments = np.asarray(segments, np.float32)
    all_segments = np.asarray(all_segments, np.float32)
    if not len(segments) or not len(all_segments):
        return segments
    overlap = _voting_iou(segments, all_segments)
    weight = (overlap >= np.float32(iou_threshold)) * np.asarray(all_scores, np.float32)[None]
    if weigh_by_iou:
        weight = weight * overlap
    total = weight.sum(1, keepdims=True)
    mean = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0) @ all_segments
    return np.asarray(np.where(total > 0, mean, segments), np.float32)


def _voting_iou(a: Floats, b: Floats) -> Floats:
    """IoU as voting computes it: of the plain lengths, 0 where the union is 0."""
    shared = np.maximum(_shared(a, b), 0)
    union = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None] - shared
    return np.asarray(shared / np.where(union == 0, np.float32(1), union))


def steps_to_seconds(
    segments: Floats, stride: float, window: float, rate: float, duration: float | None = None
) -> Floats:
    """Convert feature steps to seconds: `(segment * stride + window / 2) / rate`, cut to the video.

    Args:
        segments: Start and end in feature steps, (N, 2).
        stride: Frames between two features (UnAV-100: 8).
        window: Frames that one feature covers (24).
        rate: Frames per second (25).
        duration: Length of the video in seconds; None leaves the ends as they are.
    """
    seconds = (np.asarray(segments, np.float32) * np.float32(stride) + np.float32(0.5 * window)) / np.float32(rate)
    if duration is not None:
        seconds = seconds.clip(0, duration)
    return np.asarray(seconds, np.float32)
