# SPDX-License-Identifier: Apache-2.0
"""Semantic audio-visual segmentation (AVSBench-semantic): IoU and F-score per class, averaged over frames.

Source:
    vvvb-github/AVSegFormer at commit 7083cb6586d1 and OpenNLPLab/AVSBench at commit f7414aff6aed,
    `calc_color_miou_fscore` and the accumulation of AVSegFormer's AVSS test script.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from avkit.errors import unknown_name
from avkit.metrics.base import ScoreMetric
from avkit.metrics.intervals import Floats

BETA_SQUARED = 0.3

#: Pixels processed at a time, few enough for a processor's cache with 71 classes.
_TILE = 4096
#: Scores closer than this to the highest may equal it after a softmax in float32.
_NEARLY = np.float32(1e-5)
#: Maximum number of cells of the confusion matrices that are held at a time.
_CELLS = 2**18
_NOT_FINITE = "logits hold NaN or infinity; look at the loss of the run, it has probably diverged."


def predict_labels(logits: Tensor) -> Tensor:
    """The most likely class of every pixel, as the official evaluator picks it.

    The softmax comes before the argmax: in float32, scores that differ by less than rounding become equal, and the
    lowest class wins.

    Args:
        logits: Scores before the softmax, (B, T, K, H, W), any float type.

    Returns:
        Class of every pixel, int64 (B, T, H, W).

    Raises:
        ValueError: If the highest score of a pixel is NaN or infinite.
    """
    if not len(logits):
        return logits.amax(2).long()
    if logits.device.type == "cpu":
        return torch.stack([_predict_clip(clip) for clip in logits])
    if not bool(logits.amax(2).isfinite().all()):
        raise ValueError(_NOT_FINITE)
    # max returns the first of equals as argmax does, in less than half the time
    return torch.stack([clip.float().softmax(1).max(1).indices for clip in logits])


def _predict_clip(clip: Tensor) -> Tensor:
    """`predict_labels` of one clip (T, K, H, W): softmax only at the few pixels where two classes are nearly equal."""
    frames, classes, *size = clip.shape
    scores = clip.detach().float().flatten(2).numpy()
    kind = np.uint8 if classes < 256 else np.uint16
    numbers = np.arange(classes, dtype=kind)[:, None]
    predicted = np.empty((frames, scores.shape[2]), np.int64)
    for frame, labels in zip(scores, predicted, strict=True):
        for start in range(0, len(labels), _TILE):
            part = frame[:, start : start + _TILE]
            best = part.max(0)
            if not np.isfinite(best).all():
                raise ValueError(_NOT_FINITE)
            best -= _NEARLY
            near = (part >= best).view(np.uint8).astype(kind, copy=False)
            ambiguous = np.flatnonzero(np.add.reduce(near, axis=0, dtype=kind) != 1)
            near *= numbers
            labels[start : start + _TILE] = near.max(0)
            if len(ambiguous):
                labels[start + ambiguous] = torch.from_numpy(part[:, ambiguous]).softmax(0).max(0).indices
    return torch.from_numpy(predicted).view(frames, *size)


def class_scores(preds: Tensor, target: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """IoU and F-score (beta squared 0.3) of every class in every frame.

    Args:
        preds: Predicted class of every pixel, integers in [0, num_classes), (N, H, W).
        target: True class of every pixel, likewise.
        num_classes: Number of classes K, background included.

    Returns:
        IoU and F, float32 (N, K), 0 where the class is neither predicted nor true; and which classes are, bool (N, K).

    Raises:
        ValueError: If shapes differ or a label is outside [0, num_classes).
    """
    if preds.ndim != 3 or preds.shape != target.shape:
        raise ValueError(
            f"preds of shape {tuple(preds.shape)} and target of shape {tuple(target.shape)}; both must be (N, H, W)."
        )
    return scores_of_counts(*class_counts(preds, target, num_classes))


def class_counts(preds: Tensor, target: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels of every class in every frame in the intersection, in the prediction and in the target: (N, K) each."""
    preds = _checked_labels("preds", preds, num_classes)
    target = _checked_labels("target", target, num_classes)
    chunk = max(1, _CELLS // num_classes**2)
    parts = zip(preds.split(chunk), target.split(chunk), strict=True)
    confused = torch.cat([_confusion(x, y, num_classes) for x, y in parts])
    return confused.diagonal(dim1=1, dim2=2), confused.sum(1), confused.sum(2)


def scores_of_counts(intersection: Tensor, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """IoU and F of `class_counts`, and which classes are predicted or true."""
    union = predicted + true - intersection
    precision = intersection / predicted
    recall = intersection / true
    f = (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
    return intersection / union.clamp(min=1), f.nan_to_num(0.0), union > 0


class SemanticMask(ScoreMetric):
    """mIoU and F-score of semantic masks, as published for AVSBench-semantic.

    Every class is averaged over the frames in which it is predicted or true, then classes are averaged. `official`
    counts a class that never occurs as 0, and its `noBg` figures leave out the last class, although the background is
    index 0. `clean` averages over the classes that occur, and its `noBg` figures leave out class 0. `pooled` is `clean`
    over the pixels of all frames together, the usual mIoU of a confusion matrix.

    The official loader pads clips of 5 seconds to 10 frames of background and scores them all: to reproduce published
    numbers pass those frames as valid.

    Args:
        num_classes: Number of classes K, background included.
        variant: `official`, `clean` or `pooled`.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For an unknown variant or fewer than two classes.
    """

    iou_sum: Tensor
    f_sum: Tensor
    count: Tensor
    pixels: Tensor

    def __init__(
        self, num_classes: int = 71, variant: Literal["official", "clean", "pooled"] = "official", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if variant not in ("official", "clean", "pooled"):
            raise unknown_name("variant", variant, ("official", "clean", "pooled"))
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}; give 2 or more, background included; AVSBench has 71.")
        self.num_classes = num_classes
        self.variant = variant
        for name in ("iou_sum", "f_sum", "count"):
            self.add_state(name, default=torch.zeros(num_classes), dist_reduce_fx="sum")
        self.add_state("pixels", default=torch.zeros(3, num_classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_blocks(3 * num_classes)

    def update(
        self, preds: Tensor, target: Tensor, valid: Tensor | None = None, clips: Sequence[str] | None = None
    ) -> None:
        """Add clips.

        Args:
            preds: Logits, float (B, T, K, H, W), or labels, integers (B, T, H, W).
            target: True labels in [0, K), integers (B, T, H, W).
            valid: bool (B, T), False on frames to leave out. None keeps all.
            clips: Names of the clips, for the interval, see `ScoreMetric.add_clips`.

        Raises:
            ValueError: If shapes, types or labels do not fit.
        """
        _check_clips(preds, target, valid, self.num_classes)
        if preds.ndim == 5:
            preds = predict_labels(preds)
        videos = len(target)
        clip_of_frame = torch.arange(len(target)).repeat_interleave(target.shape[1])
        if valid is not None:
            preds = preds[valid]
            target = target[valid]
            clip_of_frame = clip_of_frame[valid.flatten().cpu()]
        size = target.shape[-2:]
        counts = class_counts(preds.reshape(-1, *size), target.reshape(-1, *size), self.num_classes)
        iou, f, present = scores_of_counts(*counts)
        self.pixels += torch.stack([part.sum(0).long() for part in counts])
        self.iou_sum += iou.sum(0)
        self.f_sum += f.sum(0)
        self.count += present.sum(0)
        parts = counts if self.variant == "pooled" else (iou, f, present)
        sums = torch.zeros(videos, 3 * self.num_classes, dtype=torch.double, device=iou.device)
        sums.index_add_(0, clip_of_frame.to(iou.device), torch.cat([part.double() for part in parts], 1))
        self.add_clips(sums, clips, sums.any(1))

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


def _confusion(preds: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Confusion matrix of every frame, true classes in rows, int64 (N, K, K)."""
    frames = len(target)
    cells = num_classes**2
    keys = target.int() * num_classes
    keys += preds.int()
    keys += torch.arange(0, frames * cells, cells, device=target.device, dtype=torch.int32)[:, None, None]
    return torch.bincount(keys.flatten(), minlength=frames * cells).view(frames, num_classes, num_classes)


def _checked_labels(name: str, labels: Tensor, num_classes: int) -> Tensor:
    if labels.is_floating_point():
        raise ValueError(f"{name} is {labels.dtype}; give integer labels, or logits of shape (B, T, K, H, W).")
    if labels.dtype in (torch.bool, torch.uint16, torch.uint32):  # which torch cannot compare
        labels = labels.long()
    if labels.numel() and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"{name} has labels from {labels.min().item()} to {labels.max().item()}; accepted are 0 to "
            f"{num_classes - 1}. Set num_classes to the number of classes with background."
        )
    return labels


def _check_clips(preds: Tensor, target: Tensor, valid: Tensor | None, num_classes: int) -> None:
    if preds.ndim == 5 and preds.shape[2] != num_classes:
        raise ValueError(f"logits of shape {tuple(preds.shape)} have {preds.shape[2]} classes, not {num_classes}.")
    pixels = (*preds.shape[:2], *preds.shape[-2:])
    if preds.ndim not in (4, 5) or pixels != tuple(target.shape):
        raise ValueError(
            f"preds of shape {tuple(preds.shape)} and target of shape {tuple(target.shape)}; give logits "
            "(B, T, K, H, W) or labels (B, T, H, W), and target (B, T, H, W) of the same size."
        )
    if valid is not None and (valid.shape != target.shape[:2] or valid.dtype != torch.bool):
        raise ValueError(
            f"valid is {valid.dtype} of shape {tuple(valid.shape)}; give a bool tensor (B, T), "
            f"here {tuple(target.shape[:2])}."
        )
