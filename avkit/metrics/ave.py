# SPDX-License-Identifier: Apache-2.0
"""Audio-visual event localisation (AVE): accuracy over one-second segments, with background as a class.

Source:
    YapengTian/AVE-ECCV18 at commit 93f843fed72f, `compute_acc`; jasongief/PSP_CVPR_2021 at commit ddd20f3b0a17.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from avkit.metrics.base import ScoreMetric
from avkit.metrics.intervals import Floats


def segment_labels(scores: Tensor, softmax: bool = False) -> Tensor:
    """The class of every segment: the highest score, the lowest class of equals.

    Args:
        scores: Score of every class, (..., K), any real type.
        softmax: Take a float32 softmax first, after which scores closer than its rounding are equal. Only PSP does so,
            in its weakly supervised test.

    Returns:
        int64 (...).
    """
    if softmax:
        scores = scores.float().softmax(-1)
    if not scores.numel():
        return scores.new_zeros(scores.shape[:-1], dtype=torch.long)
    return scores.max(-1).indices


class SegmentAccuracy(ScoreMetric):
    """Share of segments with the correct class, over all segments of all videos.

    The background counts like any class. Full and weak supervision are scored alike. Tables show percent; the value is
    a fraction.

    Args:
        num_classes: Number of classes K, background included.
        softmax: See `segment_labels`.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For fewer than two classes.
    """

    right: Tensor
    total: Tensor

    def __init__(self, num_classes: int = 29, softmax: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}; give 2 or more, background included; AVE has 29.")
        self.num_classes = num_classes
        self.softmax = softmax
        for name in ("right", "total"):
            self.add_state(name, default=torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_blocks(2)

    def update(
        self, scores: Tensor, target: Tensor, valid: Tensor | None = None, clips: Sequence[str] | None = None
    ) -> None:
        """Add videos.

        Args:
            scores: Score of every class in every segment, (B, T, K).
            target: Class of every segment, integers (B, T), or one-hot rows (B, T, K); a row of zeros is class 0, and a
                row of several ones the lowest of them, as in the official code.
            valid: bool (B, T), False on padding. None keeps all.
            clips: Names of the videos, for the interval, see `ScoreMetric.add_clips`.

        Raises:
            ValueError: If shapes do not fit, a score is NaN or a class is out of range.
        """
        classes = self.num_classes
        if scores.ndim != 3 or scores.shape[2] != classes or target.shape not in (scores.shape, scores.shape[:2]):
            raise ValueError(
                f"scores of shape {tuple(scores.shape)} and target of shape {tuple(target.shape)}; give scores "
                f"(B, T, {classes}) and target (B, T), or (B, T, {classes}) one-hot."
            )
        if valid is not None and valid.shape != scores.shape[:2]:
            raise ValueError(f"valid of shape {tuple(valid.shape)}; give {tuple(scores.shape[:2])} like the segments.")
        if bool(scores.isnan().any()):
            raise ValueError("scores has NaN; a segment without a class cannot be scored.")
        if target.ndim == 3:
            target = segment_labels(target)
        elif target.is_floating_point() or bool(((target < 0) | (target >= classes)).any()):
            raise ValueError(
                f"target is {target.dtype} with values {sorted(set(target.flatten().tolist()))[:8]}; give integers "
                f"from 0 to {classes - 1}."
            )
        correct = segment_labels(scores, self.softmax) == target
        keep = torch.ones_like(correct) if valid is None else valid.bool()
        right = (correct & keep).sum(1)
        total = keep.sum(1)
        self.right += right.sum()
        self.total += total.sum()
        self.add_clips(torch.stack([right, total], 1), clips, total > 0)

    def compute(self) -> dict[str, float]:
        """`accuracy` in [0, 1]; NaN before the first segment."""
        total = int(self.total)
        return {"accuracy": int(self.right) / total if total else float("nan")}

    def scores_of_sums(self, sums: Floats) -> Mapping[str, Floats]:
        """Accuracy of drawn videos."""
        return {"accuracy": sums[:, 1] / sums[:, 2]}
