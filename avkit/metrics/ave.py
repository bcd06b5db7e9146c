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
from avkit.metrics.inputs import (
    ArrayLike,
    check_one_hot,
    class_count,
    class_labels,
    clip_names,
    scores_or_names,
    to_labels,
    valid_flags,
)
from avkit.metrics.intervals import Floats
from avkit.metrics.score_forms import Form, check_class_scores, check_form


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

    Examples:
        >>> metric = SegmentAccuracy(num_classes=4)
        >>> metric.update([[0, 3, 3, 0]], [[0, 3, 0, 0]])
        >>> metric.compute()
        {'accuracy': 0.75}

    Args:
        num_classes: Number of classes K, background included; 29 where neither it nor `classes` is given.
        softmax: See `segment_labels`.
        classes: Names of classes in index order, background included, for labels that are names; sets `num_classes`.
        form: What scores are, `logits`, `probabilities` or `labels`. The highest counts, so it need not be said; what
            is said is checked.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For fewer than two classes.
    """

    right: Tensor
    total: Tensor

    def __init__(
        self,
        num_classes: int | None = None,
        softmax: bool = False,
        *,
        classes: Sequence[str] | None = None,
        form: Form | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_form(form)
        num_classes = class_count(num_classes, classes, 29)
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}; give 2 or more, background included; AVE has 29.")
        self.num_classes = num_classes
        self.softmax = softmax
        self.classes = classes
        self.form: Form | None = form
        for name in ("right", "total"):
            self.add_state(name, default=torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_blocks(2)

    def update(
        self,
        scores: ArrayLike,
        target: ArrayLike,
        valid: ArrayLike | None = None,
        clips: Sequence[str] | None = None,
    ) -> None:
        """Add videos.

        Args:
            scores: Score of every class in every segment, (B, T, K), or the predicted class, integers or names (B, T).
            target: Class of every segment, integers or names (B, T), or one-hot rows (B, T, K); a row of zeros is class
                0, and a row of several ones the lowest of them, as in the official code.
            valid: bool (B, T), False on padding. None keeps all.
            clips: Names of the videos, for the interval, see `ScoreMetric.add_clips`.

        Raises:
            ValueError: If shapes do not fit, a score is NaN or a class is out of range.
            TypeError: If something is no array of numbers or names of `classes`.
        """
        predicted = self._predicted(scores)
        true = to_labels("target", target, self.classes).to(predicted.device)
        shape = tuple(predicted.shape)
        if tuple(true.shape) not in (shape, (*shape, self.num_classes)):
            raise ValueError(
                f"scores of segments {shape} and target of shape {tuple(true.shape)}; give target (B, T), or "
                f"(B, T, {self.num_classes}) one-hot, of the same segments."
            )
        if true.ndim == 3:
            check_one_hot("target", true)
            true = segment_labels(true)
        else:
            true = class_labels("target", true, self.num_classes)
        keep = valid_flags(valid, predicted)
        names = clip_names(clips, len(predicted))
        correct = predicted == true
        right = (correct & keep).sum(1)
        total = keep.sum(1)
        self.right += right.sum()
        self.total += total.sum()
        self.add_clips(torch.stack([right, total], 1), names, total > 0)

    def _predicted(self, scores: ArrayLike) -> Tensor:
        """The predicted class of every segment, int64 (B, T)."""
        given = scores_or_names(scores, self.classes)
        if given.ndim == 2 and self.form in (None, "labels"):
            return class_labels("scores", given, self.num_classes)
        if given.ndim != 3 or given.shape[2] != self.num_classes or self.form == "labels":
            raise ValueError(
                f"scores of shape {tuple(given.shape)} cannot be read; give scores (B, T, {self.num_classes}), or as "
                "labels classes (B, T)."
            )
        check_class_scores("scores", given, self.form)
        return segment_labels(given, self.softmax and self.form != "probabilities")

    def compute(self) -> dict[str, float]:
        """`accuracy` in [0, 1]; NaN before the first segment."""
        total = int(self.total)
        return {"accuracy": int(self.right) / total if total else float("nan")}

    def scores_of_sums(self, sums: Floats) -> Mapping[str, Floats]:
        """Accuracy of drawn videos."""
        return {"accuracy": sums[:, 1] / sums[:, 2]}
