# SPDX-License-Identifier: Apache-2.0
"""Binary audio-visual segmentation (AVSBench S4 and MS3): mean IoU and F-score.

The official evaluator works on one test batch at a time and averages over batches, so the number of videos in a
batch is part of the definition; the classes take it as `videos_per_call` whatever the loader's batch size is.

Source of every formula here:
    OpenNLPLab/AVSBench at commit f7414aff6aed, `avs_scripts/avs_s4/utils/pyutils.py` and `utility.py`: `mask_iou`,
    `Eval_Fmeasure` and the loop of `test.py`.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from avkit.errors import unknown_name
from avkit.metrics.base import ScoreMetric

BETA_SQUARED = 0.3

#: The official 255 thresholds: float32, on the CPU, since a device's own linspace may round differently.
THRESHOLDS = torch.linspace(0, 1 - 1e-10, 255)

#: Probability to a threshold's number, a little too low.
_BELOW = (len(THRESHOLDS) - 1) * (1 - 1e-6)

#: Frames looked at in one go: few enough for a processor's cache, and for the memory of the histograms.
_CHUNK = 4


def frame_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Overlap of the predicted and the true mask of every frame.

    The mask is `sigmoid(logit) > 0.5` in float32. A frame without truth scores the share of its pixels left empty.

    Args:
        logits: Scores before the sigmoid, (N, H, W), any float type.
        target: 1 where something visible sounds, 0 elsewhere, (N, H, W).

    Returns:
        Intersection over union, float32 (N,), in [0, 1].

    Raises:
        ValueError: If shapes differ, `logits` is not of a float type or holds NaN, or `target` holds other values than
            0 and 1.
    """
    _check(logits, target, 3, "(N, H, W)")
    return _iou(logits, target)


def frame_precision_recall(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Precision and recall of every frame at the 255 official thresholds.

    A pixel counts as predicted where `sigmoid(logit) >= threshold`. One histogram per frame and truth value gives all
    thresholds at once, with the counts of the official loop.

    Args:
        logits: Scores before the sigmoid, (N, H, W), any float type.
        target: 1 where something visible sounds, 0 elsewhere, (N, H, W).

    Returns:
        Precision and recall, float32 (N, 255) each; both 0 where the frame has no truth.

    Raises:
        ValueError: As `frame_iou`.
    """
    _check(logits, target, 3, "(N, H, W)")
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

    Frames without truth are left out; a call of such frames alone scores 0. Since the curves are averaged before the
    maximum is taken, the score of two calls is not the score of their union.

    Args:
        logits: Scores before the sigmoid, (N, H, W), N frames of one or several videos.
        target: 1 where something visible sounds, 0 elsewhere, (N, H, W).

    Returns:
        float32 scalar in [0, 1]; NaN for N = 0.

    Raises:
        ValueError: As `frame_iou`.
    """
    _check(logits, target, 3, "(N, H, W)")
    if not len(target):
        return torch.tensor(torch.nan, device=logits.device)
    curves, counted = _f_curves(logits, target), _has_truth(target)
    return (curves[counted].sum(0) / counted.sum().clamp(min=1)).max()


class _VideoMetric(ScoreMetric):
    """Sums of frame scores per video, kept in order, so that any loader batch size gives the same official calls."""

    #: Values per frame.
    width: int
    #: Flat rows of one video each: how many frames count, then the sum of their values.
    records: list[Tensor]

    #: Accepted variants.
    variants: tuple[str, ...] = ("official", "clean")

    def __init__(self, videos_per_call: int = 1, variant: str = "official", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if variant not in self.variants:
            raise unknown_name("variant", variant, self.variants)
        if videos_per_call < 1:
            raise ValueError(f"videos_per_call={videos_per_call}; give 1 or more: AVSBench uses 1, AVSegFormer 2.")
        self.videos_per_call = videos_per_call
        self.variant = variant
        # flat, because torchmetrics stands in a one-dimensional tensor for a rank that saw no data
        self.add_state("records", default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, target: Tensor, valid: Tensor | None = None) -> None:
        """Add clips.

        Args:
            logits: Scores before the sigmoid, float (B, T, H, W).
            target: 1 where something visible sounds, 0 elsewhere, (B, T, H, W).
            valid: bool (B, T), False on frames to leave out: padding, or not annotated. None keeps all.

        Raises:
            ValueError: If shapes differ, or `logits` is not of a float type, or `target` is not 0 or 1 on valid frames.
        """
        valid = _valid_frames(logits, target, valid)
        whole = bool(valid.all())
        logits, target = (x.flatten(0, 1) if whole else x[valid] for x in (logits, target))
        _check(logits, target, 3, "(B, T, H, W)")
        values, counted = self._frames(logits, target)
        rows = values.new_zeros((*valid.shape, 1 + self.width))
        rows[valid] = torch.cat([torch.ones_like(values[:, :1]), values], 1) * counted[:, None]
        self.records.append(rows.sum(1)[valid.any(1)].flatten())

    def compute(self) -> Tensor:
        """The score so far, a float32 scalar in [0, 1]; NaN if nothing was there to score."""
        if isinstance(self.records, list) and not self.records:
            return torch.tensor(torch.nan, device=self.device)
        rows = dim_zero_cat(self.records).view(-1, 1 + self.width)
        calls = rows.sum(0, keepdim=True) if self.variant == "clean" else self._group(rows)
        # an official call of frames without truth scores 0; a data set without any truth has no clean score
        count = calls[:, :1] if self.variant == "clean" else calls[:, :1].clamp(min=1)
        best: Tensor = (calls[:, 1:] / count).amax(1)
        return best.mean()

    def _group(self, rows: Tensor) -> Tensor:
        short = -len(rows) % self.videos_per_call
        rows = torch.cat([rows, rows.new_zeros((short, 1 + self.width))])
        return rows.view(-1, self.videos_per_call, 1 + self.width).sum(1)

    def _frames(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Values (N, width) of frames and which of them count, bool (N,)."""
        raise NotImplementedError


class MaskIoU(_VideoMetric):
    """Mean IoU of binary masks, as published for AVSBench S4 and MS3.

    `official`: mean over frames within a call, then over calls; frames without truth take part with the share of
    their pixels left empty. `clean`: mean over all frames that have truth, each with equal weight; it does not see
    false alarms on silent frames, so read it beside the official figure. `pooled`: intersection over union of all
    pixels of all frames, so large sources weigh more and false alarms on silent frames count.

    Args:
        videos_per_call: Videos of one official call; matters only where calls differ in their number of frames. In
            distributed runs calls are made of the videos of one rank.
        variant: `official`, `clean` or `pooled`; only `official` heeds `videos_per_call`.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For an unknown variant or a call of no video.
    """

    variants = ("official", "clean", "pooled")

    @property
    def width(self) -> int:  # type: ignore[override]
        """One value per frame; pooled, intersection and union."""
        return 2 if self.variant == "pooled" else 1

    def compute(self) -> Tensor:
        """The score so far, a float32 scalar in [0, 1]; NaN if nothing was there to score."""
        if self.variant != "pooled" or (isinstance(self.records, list) and not self.records):
            return super().compute()
        shared, union = dim_zero_cat(self.records).view(-1, 3)[:, 1:].double().sum(0)
        return (shared / union).float()

    def _frames(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if self.variant == "pooled":
            pixels = _overlap(logits, target)[:2].T
            return pixels.float(), torch.ones(len(pixels), dtype=torch.bool, device=pixels.device)
        truth = _has_truth(target)
        return _iou(logits, target)[:, None], truth if self.variant == "clean" else torch.ones_like(truth)


class MaskFScore(_VideoMetric):
    """F-score (beta squared 0.3) of binary masks, as published for AVSBench S4 and MS3.

    `official`: F curves over 255 thresholds are averaged over the frames with truth of one call, the maximum of that
    average is the call's score, and calls are averaged; a call without truth scores 0. The result depends on
    `videos_per_call`. `clean`: one curve for the whole set, so it depends on no batch.

    Args:
        videos_per_call: Videos of one official call: 1 in AVSBench, 2 in AVSegFormer. In distributed runs calls are
            made of the videos of one rank, so give more than 1 only where one process evaluates.
        variant: `official` or `clean`; `clean` ignores `videos_per_call`.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For an unknown variant or a call of no video.
    """

    width = len(THRESHOLDS)

    def _frames(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return _f_curves(logits, target), _has_truth(target)


def _has_truth(target: Tensor) -> Tensor:
    return target.bool().flatten(1).any(1)


def _overlap(logits: Tensor, target: Tensor) -> Tensor:
    """Pixels of each frame in the intersection, in the union and in the true mask, int64 (3, N)."""
    # the sigmoid first: in float32 it turns tiny positive logits into exactly 0.5, which is not above 0.5
    p, true = logits.float().sigmoid(), target.bool()
    found = torch.from_numpy(p.numpy() > np.float32(0.5)) if p.device.type == "cpu" else p > 0.5
    return torch.stack([_pixels(found & true), _pixels(found | true), _pixels(true)])


def _pixels(mask: Tensor) -> Tensor:
    """Pixels of each frame in a bool mask (N, H, W), int64 (N,); numpy counts bits several times faster than torch."""
    if mask.device.type == "cpu":
        return torch.tensor([np.count_nonzero(frame) for frame in mask.numpy()], dtype=torch.long)
    return mask.flatten(1).sum(1)


def _iou(logits: Tensor, target: Tensor) -> Tensor:
    chunks = zip(torch.split(logits, _CHUNK), torch.split(target, _CHUNK), strict=True)
    intersection, union, size = torch.cat([_overlap(x, y) for x, y in chunks], 1)
    pixels, empty = target.shape[1] * target.shape[2], size == 0
    intersection = torch.where(empty, pixels - union, intersection)
    union = torch.where(empty, pixels, union)
    return intersection / (union + 1e-7)


def _f_curves(logits: Tensor, target: Tensor) -> Tensor:
    precision, recall = _precision_recall(logits, target)
    curves = (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
    return curves.nan_to_num(0.0)


def _precision_recall(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    chunks = zip(torch.split(logits, _CHUNK), torch.split(target, _CHUNK), strict=True)
    counts = torch.cat([_counts(x, y) for x, y in chunks]).float()  # exact: a frame has fewer than 2^24 pixels
    false_positive, true_positive = counts.unbind(1)
    precision = true_positive / (false_positive + true_positive + 1e-20)
    # every sigmoid reaches the first threshold, 0, so its count is the number of true pixels
    return precision, true_positive / (true_positive[:, :1] + 1e-20)


def _counts(logits: Tensor, target: Tensor) -> Tensor:
    """Pixels at or above each threshold, int64 (N, 2, 255): first those without, then those with truth."""
    bins = len(THRESHOLDS)
    index = _level(logits.float().sigmoid())
    index.add_(target.int(), alpha=bins)
    index += torch.arange(0, 2 * bins * len(logits), 2 * bins, device=logits.device, dtype=torch.int32)[:, None, None]
    histogram = torch.bincount(index.flatten(), minlength=2 * len(logits) * bins)
    return histogram.view(-1, 2, bins).flip(-1).cumsum(-1).flip(-1)


def _level(p: Tensor) -> Tensor:
    """The highest threshold that each probability reaches, int32; all reach the first, which is 0."""
    if p.device.type != "cpu":
        return torch.bucketize(p, THRESHOLDS.to(p.device), out_int32=True, right=True) - 1
    # thresholds are even but for rounding, so this is right or one too low; the next threshold itself decides
    low = (p * _BELOW).int()
    beyond = p - THRESHOLDS[1:].index_select(0, low.flatten()).view_as(p)
    low += 1
    low += beyond.view(torch.int32) >> 31  # the sign bit: -1 where the next threshold is not reached
    return low


def _valid_frames(logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
    if logits.ndim != 4 or logits.shape != target.shape:
        raise ValueError(_shape_text(logits, target, "(B, T, H, W)"))
    if valid is None:
        return torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
    if valid.shape != logits.shape[:2] or valid.dtype != torch.bool:
        raise ValueError(
            f"valid is {valid.dtype} of shape {tuple(valid.shape)}; give a bool tensor (B, T), "
            f"here {tuple(logits.shape[:2])}."
        )
    return valid


def _check(logits: Tensor, target: Tensor, ndim: int, shape: str) -> None:
    if logits.ndim != ndim or logits.shape != target.shape:
        raise ValueError(_shape_text(logits, target, shape))
    if not logits.is_floating_point():
        raise ValueError(f"logits are {logits.dtype}; give float scores before the sigmoid, not masks.")
    if not logits.numel():
        return
    if logits.amax().isnan():  # which a NaN anywhere makes it
        raise ValueError("logits hold NaN; look at the loss of the run, it has probably diverged.")
    least, most = target.aminmax()
    between = target.is_floating_point() and not bool(((target == 0) | (target == 1)).all())
    if least < 0 or most > 1 or between:
        raise ValueError(
            f"target goes from {target.min().item()} to {target.max().item()}; give 0 and 1 only, for class or object "
            "masks use `mask > 0`."
        )


def _shape_text(logits: Tensor, target: Tensor, shape: str) -> str:
    return (
        f"logits of shape {tuple(logits.shape)} and target of shape {tuple(target.shape)}; both must be {shape}. "
        "Resize the logits to the truth, or the truth to the logits with nearest neighbours, before scoring."
    )
