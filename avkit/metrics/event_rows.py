# SPDX-License-Identifier: Apache-2.0
"""Events of videos as users give them to metrics, checked and brought into rows."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from avkit.metrics.event_precision import EventTable, Floats, Ints
from avkit.metrics.inputs import ArrayLike, class_labels, to_labels, to_tensor

#: How far an event may reach behind the end of its video, in seconds: clips are cut to whole frames.
_BEHIND = 0.5


def check_lists(videos: Sequence[object], preds: Sequence[object], target: Sequence[object]) -> None:
    """Check that names, detections and targets are lists of one entry per video.

    Raises:
        TypeError: If one is no list.
        ValueError: If lengths differ.
    """
    for given in (videos, preds, target):
        if not isinstance(given, list | tuple):
            raise TypeError(f"{given!r} is no list; give lists of names, preds and target, one entry per video.")
    if not len(videos) == len(preds) == len(target):
        raise ValueError(
            f"{len(videos)} videos, {len(preds)} of detections and {len(target)} of targets; give one each per video."
        )


def event_rows(
    what: str, events: Mapping[str, ArrayLike], classes: Sequence[str] | None, length: float | None, *, scored: bool
) -> Tensor:
    """Checked events as float64 (N, 4): start, end, label, score.

    Args:
        what: What they are, for errors.
        events: `segments` (N, 2), `labels` (N,) and, where `scored`, `scores` (N,).
        classes: Names of classes in index order, for labels that are names.
        length: Length of the video in seconds, which shows times that are no seconds; None checks nothing.
        scored: Whether the events are detections.

    Raises:
        ValueError: If lengths differ, a segment is reversed, starts before 0 or lies behind the end of its video, a
            label is negative or unknown or a value is not finite.
        TypeError: If something is no array of numbers or names of `classes`.
    """
    if not isinstance(events, Mapping):
        raise TypeError(f"{what} is a {type(events).__name__}; give a mapping with segments, labels and scores.")
    required = ["segments", "labels"]
    if scored:
        required.append("scores")
    missing = [key for key in required if key not in events]
    if missing:
        raise ValueError(f"{what} has no {', '.join(missing)}; it has {', '.join(events) or 'nothing'}.")
    segments = _rows_of(to_tensor(f"{what} segments", events["segments"]), 2)
    labels = _rows_of(to_labels(f"{what} labels", events["labels"], classes), None).to(segments.device)
    scores = torch.zeros(labels.shape, device=segments.device)
    if scored:
        scores = _rows_of(to_tensor(f"{what} scores", events["scores"]), None).to(segments.device)
    shapes_fit = segments.ndim == 2 and segments.shape[1] == 2 and labels.ndim == scores.ndim == 1
    if not shapes_fit or not len(segments) == len(labels) == len(scores):
        raise ValueError(
            f"{what} has segments {tuple(segments.shape)}, {_count(labels)} labels and {_count(scores)} scores; "
            f"give segments (N, 2) and as many {' and '.join(required[1:])}."
        )
    if scores.dtype == torch.bool:
        raise ValueError(f"{what} has bool scores, of which all true ones are equal; give how likely each event is.")
    _check_times(what, segments.double(), length)
    if not bool(scores.isfinite().all()):
        raise ValueError(f"{what} has a time or a score that is not finite.")
    whole = not labels.is_floating_point() and labels.dtype != torch.bool
    if not whole or bool((labels < 0).any()):
        raise ValueError(f"{what} has {labels.dtype} labels {labels[:8].tolist()}; give whole numbers from 0.")
    if classes is not None:
        class_labels(f"{what} labels", labels, len(classes))
    return torch.cat([segments.double(), labels.double()[:, None], scores.double()[:, None]], 1)


def video_lengths(durations: ArrayLike | None, count: int) -> list[float | None]:
    """Checked lengths of videos in seconds; None for each where none are given."""
    if durations is None:
        return [None] * count
    values = to_tensor("durations", durations)
    if values.shape != (count,):
        raise ValueError(f"durations of shape {tuple(values.shape)}; give seconds, one for each of {count} videos.")
    return list(values.tolist())


def event_table(rows: Floats, video: Ints) -> EventTable:
    """Rows of `event_rows`, and the number of each one's video, in the order of these numbers."""
    order = np.argsort(video, kind="stable")
    rows = rows[order]
    return EventTable(video[order], rows[:, :2], rows[:, 2].astype(np.int64), rows[:, 3])


def _check_times(what: str, seconds: Tensor, length: float | None) -> None:
    if not bool(seconds.isfinite().all()):
        raise ValueError(f"{what} has a time or a score that is not finite.")
    wrong = (seconds[:, 0] < 0) | (seconds[:, 1] < seconds[:, 0])
    if bool(wrong.any()):
        raise ValueError(f"{what} has segment {seconds[wrong][0].tolist()}; give 0 <= start <= end in seconds.")
    if length is not None and len(seconds) and float(seconds.max()) > length + _BEHIND:
        raise ValueError(
            f"{what} has an event until {float(seconds.max()):g} s in a video of {length:g} s; give seconds, not "
            "steps or frames, and look at the hop of the features."
        )


def _rows_of(values: Tensor, columns: int | None) -> Tensor:
    """Values of no event, which an empty list cannot tell the columns of, as 0 rows."""
    if values.numel():
        return values
    shape = (0,) if columns is None else (0, columns)
    return values.new_zeros(shape, dtype=torch.long if columns is None else torch.double)


def _count(values: Tensor) -> str:
    return str(len(values)) if values.ndim == 1 else f"{tuple(values.shape)}"
