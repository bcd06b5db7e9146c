# SPDX-License-Identifier: Apache-2.0
"""Semantic audio-visual segmentation (AVSBench-semantic): IoU and F-score per class, averaged over frames.

Source: see `avkit.metrics.class_masks`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from avkit.errors import unknown_name
from avkit.metrics.base import ScoreMetric
from avkit.metrics.class_masks import check_clips, class_counts, class_scores, predict_labels, scores_of_counts
from avkit.metrics.inputs import ArrayLike, class_count, clip_names, holds_names, to_labels, to_tensor, valid_flags
from avkit.metrics.intervals import Floats
from avkit.metrics.score_forms import Form, check_form

__all__ = ["SemanticMask", "class_scores", "predict_labels"]


class SemanticMask(ScoreMetric):
    """mIoU and F-score of semantic masks, as published for AVSBench-semantic.

    Every class is averaged over the frames in which it is predicted or true, then classes are averaged. `official`
    counts a class that never occurs as 0, and its `noBg` figures leave out the last class, although the background is
    index 0. `clean` averages over the classes that occur, and its `noBg` figures leave out class 0. `pooled` is `clean`
    over the pixels of all frames together, the usual mIoU of a confusion matrix.

    The official loader pads clips of 5 seconds to 10 frames of background and scores them all: to reproduce published
    numbers pass those frames as valid.

    Examples:
        >>> metric = SemanticMask(num_classes=3)
        >>> metric.update([[[[0, 2], [1, 1]]]], [[[[0, 2], [1, 2]]]])
        >>> round(metric.compute()["mIoU"], 3)
        0.667

    Args:
        num_classes: Number of classes K, background included; 71 where neither it nor `classes` is given.
        variant: `official`, `clean` or `pooled`.
        classes: Names of classes in index order, background included; sets `num_classes`.
        form: What predictions are: `logits`, `probabilities` or `labels`. Without it floats are taken through the
            softmax, which leaves the highest of probabilities where it is but for those closer than 1e-7.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For an unknown variant or fewer than two classes.
    """

    iou_sum: Tensor
    f_sum: Tensor
    count: Tensor
    pixels: Tensor

    def __init__(
        self,
        num_classes: int | None = None,
        variant: Literal["official", "clean", "pooled"] = "official",
        *,
        classes: Sequence[str] | None = None,
        form: Form | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_form(form)
        num_classes = class_count(num_classes, classes, 71)
        if variant not in ("official", "clean", "pooled"):
            raise unknown_name("variant", variant, ("official", "clean", "pooled"))
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}; give 2 or more, background included; AVSBench has 71.")
        self.num_classes = num_classes
        self.variant = variant
        self.classes = classes
        self.form: Form | None = form
        for name in ("iou_sum", "f_sum", "count"):
            self.add_state(name, default=torch.zeros(num_classes), dist_reduce_fx="sum")
        self.add_state("pixels", default=torch.zeros(3, num_classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_blocks(3 * num_classes)

    def update(
        self,
        preds: ArrayLike,
        target: ArrayLike,
        valid: ArrayLike | None = None,
        clips: Sequence[str] | None = None,
    ) -> None:
        """Add clips.

        Args:
            preds: Scores of every class, float (B, T, K, H, W), or labels, integers (B, T, H, W); without B for one
                clip.
            target: True labels in [0, K), integers (B, T, H, W).
            valid: bool (B, T), False on frames to leave out. None keeps all.
            clips: Names of the clips, for the interval, see `ScoreMetric.add_clips`.

        Raises:
            ValueError: If shapes, types or labels do not fit.
            TypeError: If something is no array of numbers or names of `classes`.
        """
        given, true = self._clips(preds, target)
        videos = len(true)
        names = clip_names(clips, videos)
        clip_of_frame = torch.arange(videos).repeat_interleave(true.shape[1])
        labels = self._labels(given)
        if valid is not None:
            flags = valid_flags(valid, true)
            labels = labels[flags]
            true = true[flags]
            clip_of_frame = clip_of_frame[flags.flatten().cpu()]
        size = true.shape[-2:]
        counts = class_counts(labels.reshape(-1, *size), true.reshape(-1, *size), self.num_classes)
        iou, f, present = scores_of_counts(*counts)
        self.pixels += torch.stack([part.sum(0).long() for part in counts])
        self.iou_sum += iou.sum(0)
        self.f_sum += f.sum(0)
        self.count += present.sum(0)
        parts = counts if self.variant == "pooled" else (iou, f, present)
        sums = torch.zeros(videos, 3 * self.num_classes, dtype=torch.double, device=iou.device)
        sums.index_add_(0, clip_of_frame.to(iou.device), torch.cat([part.double() for part in parts], 1))
        self.add_clips(sums, names, sums.any(1))

    def _clips(self, preds: ArrayLike, target: ArrayLike) -> tuple[Tensor, Tensor]:
        """Predictions (B, T, K, H, W) or (B, T, H, W) and true labels (B, T, H, W), of fitting shapes."""
        given = to_labels("preds", preds, self.classes) if holds_names(preds) else to_tensor("preds", preds)
        true = to_labels("target", target, self.classes).to(given.device)
        if true.ndim == 3 and given.ndim in (3, 4):
            given = given[None]
            true = true[None]
        check_clips(given, true, self.num_classes)
        return given, true

    def _labels(self, given: Tensor) -> Tensor:
        """The predicted class of every pixel, (B, T, H, W)."""
        if given.ndim == 4:
            if self.form not in (None, "labels"):
                raise ValueError(f"preds of shape {tuple(given.shape)} are labels; they are said to be {self.form}.")
            return given
        if self.form == "labels" or not given.is_floating_point():
            raise ValueError(
                f"preds is {given.dtype} of shape {tuple(given.shape)}; give float scores of every class, or labels "
                "(B, T, H, W)."
            )
        if self.form != "probabilities":
            return predict_labels(given)
        best = given.float().max(2)
        if not bool(((best.values >= 0) & (best.values <= 1 + 1e-6)).all()):
            raise ValueError("preds have values outside of [0, 1] or NaN; they are said to be probabilities.")
        return best.indices

    def compute(self) -> dict[str, float]:
        """`mIoU`, `F`, `mIoU_noBg` and `F_noBg` in [0, 1]; NaN before the first frame."""
        if not self.count.any():
            return dict.fromkeys(("mIoU", "F", "mIoU_noBg", "F_noBg"), float("nan"))
        if self.variant == "pooled":
            iou_of_all, f_of_all, present = scores_of_counts(*self.pixels.double())
            scores = torch.stack([iou_of_all, f_of_all]).masked_fill(~present, torch.nan)
        else:
            scores = torch.stack([self.iou_sum, self.f_sum]) / self.count
        return {name: value.item() for name, value in self._means(scores).items()}

    def _means(self, scores: Tensor) -> dict[str, Tensor]:
        """The four figures from IoU and F of each class, (2, ..., K), NaN where it never occurs."""
        if self.variant == "official":
            scores = scores.nan_to_num(0.0)
            foreground = scores[..., :-1]
        else:
            foreground = scores[..., 1:]
        iou, f = scores.nanmean(-1)
        iou_without_background, f_without_background = foreground.nanmean(-1)
        return {"mIoU": iou, "F": f, "mIoU_noBg": iou_without_background, "F_noBg": f_without_background}

    def scores_of_sums(self, sums: Floats) -> Mapping[str, Floats]:
        """The same of drawn clips."""
        parts = torch.from_numpy(sums[:, 1:]).unflatten(1, (3, self.num_classes)).unbind(1)
        if self.variant == "pooled":
            iou, f, present = scores_of_counts(*parts)
            scores = torch.stack([iou, f]).masked_fill(~present, torch.nan)
        else:
            scores = torch.stack(parts[:2]) / parts[2]
        return {name: value.numpy() for name, value in self._means(scores).items()}
