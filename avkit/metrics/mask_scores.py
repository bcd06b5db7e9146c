# SPDX-License-Identifier: Apache-2.0
"""IoU and F-score of binary masks, frame by frame and for one call of the official evaluator.

Source of every formula here:
    OpenNLPLab/AVSBench at commit f7414aff6aed, `avs_scripts/avs_s4/utils/pyutils.py` and `utility.py`: `mask_iou`,
    `Eval_Fmeasure` and the loop of `test.py`.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

BETA_SQUARED = 0.3

#: The official 255 thresholds: float32, on the CPU, since a device's own linspace may round differently.
THRESHOLDS = torch.linspace(0, 1 - 1e-10, 255)

#: Factor from a probability to the index of its threshold, slightly too low.
_BELOW = (len(THRESHOLDS) - 1) * (1 - 1e-6)

#: Frames processed at a time: few enough for a processor's cache, and for the memory of the histograms.
_CHUNK = 4


def frame_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Overlap of the predicted and the true mask of every frame.

    The mask is `sigmoid(logit) > 0.5` in float32. A frame with an empty target scores the share of its
    pixels that are predicted empty.

    Args:
        logits: Scores before the sigmoid, (N, H, W), any float type.
        target: 1 where something visible sounds, 0 elsewhere, (N, H, W).

    Returns:
        Intersection over union, float32 (N,), in [0, 1].

    Raises:
        ValueError: If shapes differ, `logits` is not of a float type or holds NaN, or `target` holds other values than
            0 and 1.
    """
    check_masks(logits, target)
    return iou(logits, target)


def frame_precision_recall(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Precision and recall of every frame at the 255 official thresholds.

    A pixel counts as predicted where `sigmoid(logit) >= threshold`. One histogram per frame and target value gives
    all thresholds at once, with the counts of the official loop.

    Args:
        logits: Scores before the sigmoid, (N, H, W), any float type.
        target: 1 where something visible sounds, 0 elsewhere, (N, H, W).

    Returns:
        Precision and recall, float32 (N, 255) each; both 0 where the target is empty.

    Raises:
        ValueError: As `frame_iou`.
    """
    check_masks(logits, target)
    return _precision_recall(logits, target)


def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Mean IoU of one official call: the mean of `frame_iou` over its frames.

    Args:
        logits: Scores before the sigmoid, (N, H, W), N frames of one or several videos.
        target: 1 where something visible sounds, 0 elsewhere, (N, H, W).

    Returns:
        float32 scalar in [0, 1]; NaN for N = 0.

    Raises:
        ValueError: As `frame_iou`.
    """
    return frame_iou(logits, target).mean()


def f_score(logits: Tensor, target: Tensor) -> Tensor:
    """F-score of one official call: the maximum of the frames' average F curve.

    Frames with an empty target are left out; a call of such frames alone scores 0. Since the curves are averaged before
    the maximum is taken, the score of two calls is not the score of their union.

    Args:
        logits: Scores before the sigmoid, (N, H, W), N frames of one or several videos.
        target: 1 where something visible sounds, 0 elsewhere, (N, H, W).

    Returns:
        float32 scalar in [0, 1]; NaN for N = 0.

    Raises:
        ValueError: As `frame_iou`.
    """
    check_masks(logits, target)
    if not len(target):
        return torch.tensor(torch.nan, device=logits.device)
    counted = has_source(target)
    curves = f_curves(logits, target)[counted]
    return (curves.sum(0) / counted.sum().clamp(min=1)).max()


def has_source(target: Tensor) -> Tensor:
    """Which frames (N, H, W) have a true pixel, bool (N,)."""
    return target.bool().flatten(1).any(1)


def overlap(logits: Tensor, target: Tensor) -> Tensor:
    """Pixels of each frame in the intersection, in the union and in the true mask, int64 (3, N)."""
    # the sigmoid first: in float32 it turns tiny positive logits into exactly 0.5, which is not above 0.5
    probability = logits.float().sigmoid()
    if probability.device.type == "cpu":
        predicted = torch.from_numpy(probability.numpy() > np.float32(0.5))
    else:
        predicted = probability > 0.5
    true = target.bool()
    return torch.stack([_pixels(predicted & true), _pixels(predicted | true), _pixels(true)])


def _pixels(mask: Tensor) -> Tensor:
    """Pixels of each frame in a bool mask (N, H, W), int64 (N,); numpy counts bits several times faster than torch."""
    if mask.device.type == "cpu":
        return torch.tensor([np.count_nonzero(frame) for frame in mask.numpy()], dtype=torch.long)
    return mask.flatten(1).sum(1)


def iou(logits: Tensor, target: Tensor) -> Tensor:
    """`frame_iou` of inputs that are checked already."""
    counts = torch.cat([overlap(x, y) for x, y in _chunks(logits, target)], 1)
    intersection, union, size = counts
    pixels = target.shape[1] * target.shape[2]
    empty = size == 0
    intersection = torch.where(empty, pixels - union, intersection)
    union = torch.where(empty, pixels, union)
    return intersection / (union + 1e-7)


def f_curves(logits: Tensor, target: Tensor) -> Tensor:
    """F-score of each frame at each threshold, (N, 255), of inputs that are checked already."""
    precision, recall = _precision_recall(logits, target)
    curves = (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
    return curves.nan_to_num(0.0)


def _precision_recall(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    counts = torch.cat([_counts(x, y) for x, y in _chunks(logits, target)])
    counts = counts.float()  # exact: a frame has fewer than 2^24 pixels
    false_positive, true_positive = counts.unbind(1)
    precision = true_positive / (false_positive + true_positive + 1e-20)
    # every sigmoid reaches the first threshold, 0, so its count is the number of true pixels
    return precision, true_positive / (true_positive[:, :1] + 1e-20)


def _counts(logits: Tensor, target: Tensor) -> Tensor:
    """Pixels at or above each threshold, int64 (N, 2, 255): those that are 0 in `target`, then those that are 1."""
    bins = len(THRESHOLDS)
    index = _threshold_index(logits.float().sigmoid())
    index.add_(target.int(), alpha=bins)
    index += torch.arange(0, 2 * bins * len(logits), 2 * bins, device=logits.device, dtype=torch.int32)[:, None, None]
    histogram = torch.bincount(index.flatten(), minlength=2 * len(logits) * bins)
    return histogram.view(-1, 2, bins).flip(-1).cumsum(-1).flip(-1)


def _threshold_index(probability: Tensor) -> Tensor:
    """The highest threshold that each probability reaches, int32; all reach the first, which is 0."""
    if probability.device.type != "cpu":
        return torch.bucketize(probability, THRESHOLDS.to(probability.device), out_int32=True, right=True) - 1
    # thresholds are evenly spaced except for rounding, so this is right or one too low; the next threshold decides
    index = (probability * _BELOW).int()
    beyond = probability - THRESHOLDS[1:].index_select(0, index.flatten()).view_as(probability)
    index += 1
    index += beyond.view(torch.int32) >> 31  # the sign bit: -1 where the next threshold is not reached
    return index


def _chunks(logits: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(logits, _CHUNK), torch.split(target, _CHUNK), strict=True)


def check_masks(logits: Tensor, target: Tensor) -> None:
    """Raise a ValueError unless both are (N, H, W), `logits` floats without NaN, and `target` 0 and 1 only."""
    if logits.ndim != 3 or logits.shape != target.shape:
        raise ValueError(shape_message(logits, target, "(N, H, W)"))
    if not logits.is_floating_point():
        raise ValueError(f"logits are {logits.dtype}; give float scores before the sigmoid, not masks.")
    if not logits.numel():
        return
    if logits.amax().isnan():  # which a NaN anywhere makes it
        raise ValueError("logits hold NaN; look at the loss of the run, it has probably diverged.")
    low, high = target.aminmax()
    between = target.is_floating_point() and not bool(((target == 0) | (target == 1)).all())
    if low < 0 or high > 1 or between:
        raise ValueError(
            f"target goes from {low.item()} to {high.item()}; give 0 and 1 only, for class or object "
            "masks use `mask > 0`."
        )


def shape_message(logits: Tensor, target: Tensor, shape: str) -> str:
    """What is wrong with shapes that differ, and what to do."""
    return (
        f"logits of shape {tuple(logits.shape)} and target of shape {tuple(target.shape)}; both must be {shape}. "
        "Resize the logits to the target, or the target to the logits with nearest neighbours, before scoring."
    )
