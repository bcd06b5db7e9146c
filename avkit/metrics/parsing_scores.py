# SPDX-License-Identifier: Apache-2.0
"""Audio-visual video parsing (LLP): F-scores of segments and of events, per modality and together.

Source:
    YapengTian/AVVP-ECCV20 at commit fde56118f2c2, `utils/eval_metrics.py` and `eval` of its main script.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avkit.metrics.inputs import to_labels

#: The four scores of a video, in the official order.
KINDS = ("A", "V", "Event", "AV")


def parse(segment: Tensor, video: Tensor | None = None, threshold: float = 0.5) -> Tensor:
    """The classes of each segment: its own probability and that of the video both reach the threshold.

    Args:
        segment: Probabilities, (..., T, K).
        video: Probabilities of the video, (..., K); None uses those of the segments alone.
        threshold: Equality passes. Compared in float32, to which half precision is converted.

    Returns:
        bool (..., T, K).
    """
    classes = segment.float() >= threshold
    if video is not None:
        classes &= (video.float() >= threshold)[..., None, :]
    return classes


def rows_to_segments(
    rows: Iterable[tuple[float, float, int | str]], steps: int, classes: int | Sequence[str]
) -> Tensor:
    """Annotated rows of one video as segments, bool (T, K); rows that overlap or touch become one.

    Args:
        rows: Onset and offset in seconds, both rounded down as in the official code, and class, a number or a name.
        steps: Segments T of one second.
        classes: Number of classes K, or their names in index order.

    Raises:
        ValueError: If a class is unknown, or a row is reversed, starts before 0 or lies behind the last segment.
    """
    names = None if isinstance(classes, int) else list(classes)
    count = classes if isinstance(classes, int) else len(classes)
    segments = torch.zeros(steps, count, dtype=torch.bool)
    for onset, offset, label in rows:
        kind = int(to_labels("rows", [label], names)[0]) if isinstance(label, str) else label
        if not 0 <= kind < count:
            raise ValueError(f"Row ({onset}, {offset}, {kind}) names class {kind}; classes go from 0 to {count - 1}.")
        if onset > steps or offset >= steps + 1:
            raise ValueError(
                f"Row ({onset}, {offset}, {kind}) goes beyond the {steps} segments of one second; give seconds, and as "
                "many segments as the video has."
            )
        if onset < 0 or offset < onset:
            raise ValueError(f"Row ({onset}, {offset}, {kind}): give 0 <= onset <= offset in seconds.")
        segments[int(onset) : int(offset), kind] = True
    return segments


def segment_counts(preds: Tensor, target: Tensor) -> Tensor:
    """True positives, false positives and false negatives over segments: bool (N, T, K) each to int64 (N, K, 3)."""
    true_positive = (preds & target).sum(1)
    return torch.stack([true_positive, preds.sum(1) - true_positive, target.sum(1) - true_positive], -1)


def event_counts(preds: Tensor, target: Tensor) -> Tensor:
    """The same over events, which are maximal runs of segments: bool (N, T, K) each to int64 (N, K, 3).

    A predicted event is correct if a true one of its class has an intersection over union of at least 0.5 with it, and
    a true event is missed if no prediction has. There is at most one such partner, so no assignment is needed.
    """
    active = (preds | target).any(1)  # few classes occur in a video; the counts of the others are 0
    predicted = _find_runs(preds.transpose(1, 2)[active])
    true = _find_runs(target.transpose(1, 2)[active])
    correct = (predicted.start & _has_partner(predicted, true)).sum(1)
    extra = predicted.start.sum(1) - correct
    missed = (true.start & ~_has_partner(true, predicted)).sum(1)
    counts = torch.zeros(*active.shape, 3, dtype=torch.long, device=preds.device)
    counts[active] = torch.stack([correct, extra, missed], -1)
    return counts


@dataclass(frozen=True)
class _Runs:
    """Runs of M rows of T segments.

    Attributes:
        on: Segments inside a run, bool (M, T).
        start: First segments of runs, bool (M, T).
        begin: For every segment of a run the index of the run's first segment, int32 (M, T).
        end: Likewise the index after the run's last segment.
    """

    on: Tensor
    start: Tensor
    begin: Tensor
    end: Tensor


def _find_runs(on: Tensor) -> _Runs:
    steps = on.shape[1]
    index = torch.arange(steps, device=on.device, dtype=torch.int32).expand_as(on)
    off = torch.zeros_like(on[:, :1])
    start = on & ~torch.cat([off, on[:, :-1]], 1)
    last = on & ~torch.cat([on[:, 1:], off], 1)
    begin = (index * start).cummax(1).values
    end = steps - (index.flip(1) * last).flip(1).cummax(1).values.flip(1)
    return _Runs(on, start, begin, end)


def _has_partner(own: _Runs, other: _Runs) -> Tensor:
    """Whether each run has a partner, given at the run's first segment: bool (M, T).

    A partner with an IoU of a half shares a segment with the run, so it suffices to compare the two runs of each
    segment, and to carry the result to the run's first segment.
    """
    intersection = torch.minimum(own.end, other.end) - torch.maximum(own.begin, other.begin)
    union = torch.maximum(own.end, other.end) - torch.minimum(own.begin, other.begin)
    partners = own.on & other.on & (2 * intersection >= union)
    count = torch.zeros_like(own.begin)
    return count.scatter_add_(1, own.begin.long(), partners.int()) > 0


def f_scores(counts: Tensor) -> Tensor:
    """F of each video: mean over the classes predicted or true, 1 where there is none; int64 (N, K, 3) to (N,)."""
    correct, extra, missed = counts.double().unbind(-1)
    total = 2 * correct + extra + missed
    f = torch.where(total > 0, 2 * correct / total.clamp(min=1), 0)
    present = (total > 0).sum(1)
    return torch.where(present > 0, f.sum(1) / present.clamp(min=1), 1.0)
