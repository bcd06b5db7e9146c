# SPDX-License-Identifier: Apache-2.0
"""IoU and F-score of binary masks, frame by frame and for one call of the official evaluator.

Source of every formula here:
    OpenNLPLab/AVSBench at commit f7414aff6aed, `avs_scripts/avs_s4/utils/pyutils.py` and `utility.py`: `mask_iou`,
    `Eval_Fmeasure` and the loop of `test.py`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avkit.metrics.inputs import ArrayLike, to_tensor
from avkit.metrics.score_forms import Form, check_binary_scores, check_form, to_probabilities

BETA_SQUARED = 0.3

#: The official 255 thresholds: float32, on the CPU, since a device's own linspace may round differently.
THRESHOLDS = torch.linspace(0, 1 - 1e-10, 255, device="cpu")

#: Factor from a probability to the index of its threshold, slightly too low.
_BELOW = (len(THRESHOLDS) - 1) * (1 - 1e-6)

#: Frames processed at a time: few enough for a processor's cache, and for the memory of the histograms.
_CHUNK = 4


def frame_iou(scores: ArrayLike, target: ArrayLike, form: Form | None = None) -> Tensor:
    """Overlap of the predicted and the true mask of every frame.

    The mask is `probability > 0.5`, after the sigmoid in float32 where scores are logits. A frame with an empty target
    scores the share of its pixels that are predicted empty.

    Args:
        scores: Of every pixel, (N, H, W), any float type; or labels, 0 and 1.
        target: 1 where something visible sounds, 0 elsewhere, (N, H, W).
        form: What scores are, see `avkit.metrics.inputs`; needed where they may be probabilities or logits.

    Returns:
        Intersection over union, float32 (N,), in [0, 1].

    Raises:
        ValueError: If shapes differ, scores are NaN or not what `form` says or may be more than one thing, or `target`
            holds other values than 0 and 1.
    """
    return iou(*check_masks(scores, target, form))


def frame_precision_recall(scores: ArrayLike, target: ArrayLike, form: Form | None = None) -> tuple[Tensor, Tensor]:
    """Precision and recall of every frame at the 255 official thresholds.

    A pixel counts as predicted where `probability >= threshold`. One histogram per frame and target value gives
    all thresholds at once, with the counts of the official loop.

    Args:
        scores: Of every pixel, (N, H, W), any float type; or labels, 0 and 1.
        target: 1 where something visible sounds, 0 elsewhere, (N, H, W).
        form: What scores are, see `avkit.metrics.inputs`; needed where they may be probabilities or logits.

    Returns:
        Precision and recall, float32 (N, 255) each; both 0 where the target is empty.

    Raises:
        ValueError: As `frame_iou`.
    """
    return _precision_recall(*check_masks(scores, target, form))


def mask_iou(scores: ArrayLike, target: ArrayLike, form: Form | None = None) -> Tensor:
    """Mean IoU of one official call: the mean of `frame_iou` over its frames.

    Args:
        scores: Of every pixel, (N, H, W), N frames of one or several videos.
        target: 1 where something visible sounds, 0 elsewhere, (N, H, W).
        form: What scores are, as in `frame_iou`.

    Returns:
        float32 scalar in [0, 1]; NaN for N = 0.

    Raises:
        ValueError: As `frame_iou`.
    """
    return frame_iou(scores, target, form).mean()


def f_score(scores: ArrayLike, target: ArrayLike, form: Form | None = None) -> Tensor:
    """F-score of one official call: the maximum of the frames' average F curve.

    Frames with an empty target are left out; a call of such frames alone scores 0. Since the curves are averaged before
    the maximum is taken, the score of two calls is not the score of their union.

    Args:
        scores: Of every pixel, (N, H, W), N frames of one or several videos.
        target: 1 where something visible sounds, 0 elsewhere, (N, H, W).
        form: What scores are, as in `frame_iou`.

    Returns:
        float32 scalar in [0, 1]; NaN for N = 0.

    Raises:
        ValueError: As `frame_iou`.
    """
    masks = check_masks(scores, target, form)
    if not len(masks.target):
        return torch.tensor(torch.nan, device=masks.scores.device)
    counted = has_source(masks.target)
    curves = f_curves(*masks)[counted]
    return (curves.sum(0) / counted.sum().clamp(min=1)).max()


def has_source(target: Tensor) -> Tensor:
    """Which frames (N, H, W) have a true pixel, bool (N,)."""
    return target.bool().flatten(1).any(1)


def overlap(scores: Tensor, target: Tensor, form: Form) -> Tensor:
    """Pixels of each frame in the intersection, in the union and in the true mask, int64 (3, N)."""
    # the sigmoid first: in float32 it turns tiny positive logits into exactly 0.5, which is not above 0.5
    probability = to_probabilities(scores, form)
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


def iou(scores: Tensor, target: Tensor, form: Form) -> Tensor:
    """`frame_iou` of inputs that are checked already."""
    counts = torch.cat([overlap(x, y, form) for x, y in _chunks(scores, target)], 1)
    intersection, union, size = counts
    pixels = target.shape[1] * target.shape[2]
    empty = size == 0
    intersection = torch.where(empty, pixels - union, intersection)
    union = torch.where(empty, pixels, union)
    return intersection / (union + 1e-7)


def f_curves(scores: Tensor, target: Tensor, form: Form) -> Tensor:
    """F-score of each frame at each threshold, (N, 255), of inputs that are checked already."""
    precision, recall = _precision_recall(scores, target, form)
    curves = (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
    return curves.nan_to_num(0.0)


def _precision_recall(scores: Tensor, target: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    counts = torch.cat([_counts(x, y, form) for x, y in _chunks(scores, target)])
    counts = counts.float()  # exact: a frame has fewer than 2^24 pixels
    false_positive, true_positive = counts.unbind(1)
    precision = true_positive / (false_positive + true_positive + 1e-20)
    # every sigmoid reaches the first threshold, 0, so its count is the number of true pixels
    return precision, true_positive / (true_positive[:, :1] + 1e-20)


def _counts(scores: Tensor, target: Tensor, form: Form) -> Tensor:
    """Pixels at or above each threshold, int64 (N, 2, 255): those that are 0 in `target`, then those that are 1."""
    bins = len(THRESHOLDS)
    index = threshold_index(to_probabilities(scores, form))
    index.add_(target.int(), alpha=bins)
    index += torch.arange(0, 2 * bins * len(scores), 2 * bins, device=scores.device, dtype=torch.int32)[:, None, None]
    histogram = torch.bincount(index.flatten(), minlength=2 * len(scores) * bins)
    return histogram.view(-1, 2, bins).flip(-1).cumsum(-1).flip(-1)


def threshold_index(probability: Tensor) -> Tensor:
    """The highest threshold that each probability reaches, int32; all reach the first, which is 0."""
    if probability.device.type != "cpu":
        return torch.bucketize(probability, THRESHOLDS.to(probability.device), out_int32=True, right=True) - 1
    # thresholds are evenly spaced except for rounding, so this is right or one too low; the next threshold decides
    index = (probability * _BELOW).int()
    beyond = probability - THRESHOLDS[1:].index_select(0, index.flatten()).view_as(probability)
    index += 1
    index += beyond.view(torch.int32) >> 31  # the sign bit: -1 where the next threshold is not reached
    return index


def _chunks(scores: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(scores, _CHUNK), torch.split(target, _CHUNK), strict=True)


class Masks(NamedTuple):
    """Checked scores of masks with their form, and true masks of 0 and 1 on the same device, (N, H, W) each."""

    scores: Tensor
    target: Tensor
    form: Form


def check_masks(scores: ArrayLike, target: ArrayLike, form: Form | None) -> Masks:
    """Masks as tensors (N, H, W) that can be scored.

    Raises:
        ValueError: See `frame_iou`.
    """
    check_form(form)
    given = to_tensor("scores", scores)
    true = to_tensor("target", target)
    if given.ndim != 3 or given.shape != true.shape:
        raise ValueError(shape_message(given, true, "(N, H, W)"))
    known = check_binary_scores("scores", given, form)
    check_binary_target(true)
    return Masks(given, true.to(given.device), known)


def check_binary_target(target: Tensor) -> None:
    """Raise ValueError unless a true mask holds 0 and 1 only."""
    if not target.numel() or target.dtype == torch.bool:
        return
    low, high = target.aminmax()
    between = target.is_floating_point() and not bool(((target == 0) | (target == 1)).all())
    if low < 0 or high > 1 or between:
        raise ValueError(
            f"target goes from {low.item()} to {high.item()}; give 0 and 1 only, for class or object "
            "masks use `mask > 0`."
        )


def shape_message(scores: Tensor, target: Tensor, shape: str) -> str:
    """What is wrong with shapes that differ, and what to do."""
    return (
        f"scores of shape {tuple(scores.shape)} and target of shape {tuple(target.shape)}; both must be {shape}. "
        "Resize the scores to the target, or the target to the scores with nearest neighbours, before scoring."
    )
