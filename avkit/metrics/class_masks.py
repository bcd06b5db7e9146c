# SPDX-License-Identifier: Apache-2.0
"""Semantic audio-visual segmentation (AVSBench-semantic): IoU and F-score per class, averaged over frames.

Source:
    vvvb-github/AVSegFormer at commit 7083cb6586d1 and OpenNLPLab/AVSBench at commit f7414aff6aed,
    `calc_color_miou_fscore` and the accumulation of AVSegFormer's AVSS test script.
"""

import numpy as np
import torch
from torch import Tensor

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


def check_clips(preds: Tensor, target: Tensor, num_classes: int) -> None:
    """Raise ValueError unless predictions and true labels are of the same clips and size."""
    if preds.ndim == 5 and preds.shape[2] != num_classes:
        raise ValueError(f"logits of shape {tuple(preds.shape)} have {preds.shape[2]} classes, not {num_classes}.")
    pixels = (*preds.shape[:2], *preds.shape[-2:])
    if preds.ndim not in (4, 5) or pixels != tuple(target.shape):
        raise ValueError(
            f"preds of shape {tuple(preds.shape)} and target of shape {tuple(target.shape)}; give logits "
            "(B, T, K, H, W) or labels (B, T, H, W), and target (B, T, H, W) of the same size."
        )
