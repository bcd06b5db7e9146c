# SPDX-License-Identifier: Apache-2.0
"""Binary audio-visual segmentation (AVSBench S4 and MS3): mean IoU and F-score.

The official evaluator works on one test batch at a time and averages over batches, so the number of videos in a
batch is part of the definition; the classes take it as `videos_per_call` whatever the loader's batch size is.

Source:
    OpenNLPLab/AVSBench at commit f7414aff6aed, see `avkit.metrics.mask_scores`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avkit.errors import unknown_name
from avkit.metrics.base import ScoreMetric
from avkit.metrics.intervals import Floats
from avkit.metrics.mask_scores import THRESHOLDS, check_masks, f_curves, has_source, iou, overlap, shape_message


class _VideoMetric(ScoreMetric):
    """Sums of frame values per video, kept in order, so that any loader batch size gives the same official calls."""

    #: Number of values per frame.
    width: int
    #: One row per video, flattened: the number of frames that count, then the sums of their values.
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
        # flat, because torchmetrics gathers a one-dimensional tensor from a rank without data
        self.add_list_state("records", torch.zeros(0))
        self.add_blocks(1 if variant == "official" else 1 + self.width)

    def update(
        self, logits: Tensor, target: Tensor, valid: Tensor | None = None, clips: Sequence[str] | None = None
    ) -> None:
        """Add clips.

        Args:
            logits: Scores before the sigmoid, float (B, T, H, W).
            target: 1 where something visible sounds, 0 elsewhere, (B, T, H, W).
            valid: bool (B, T), False on frames to leave out: padding, or not annotated. None keeps all.
            clips: Names of the clips, for the interval, see `ScoreMetric.add_clips`.

        Raises:
            ValueError: If shapes differ, or `logits` is not of a float type, or `target` is not 0 or 1 on valid frames.
        """
        valid = _valid_frames(logits, target, valid)
        if valid.all():
            logits = logits.flatten(0, 1)
            target = target.flatten(0, 1)
        else:
            logits = logits[valid]
            target = target[valid]
        check_masks(logits, target)
        values, counted = self._frame_values(logits, target)
        rows = values.new_zeros((*valid.shape, 1 + self.width))
        rows[valid] = torch.cat([torch.ones_like(values[:, :1]), values], 1) * counted[:, None]
        scored = valid.any(1)
        sums = rows.sum(1)
        self.records.append(sums[scored].flatten())
        if self.variant == "official":
            self.add_clips(_best(sums)[:, None] * scored[:, None], clips, scored)
        else:
            self.add_clips(sums, clips, sums[:, 0] > 0)

    def compute(self) -> Tensor:
        """The score so far, a float32 scalar in [0, 1]; NaN if there is no frame that counts."""
        rows = self.joined("records").to(self.device).view(-1, 1 + self.width)
        if not len(rows):
            return torch.tensor(torch.nan, device=self.device)
        if self.variant == "clean":
            pool = rows.sum(0)
            return (pool[1:] / pool[0]).amax()  # NaN for a set of empty targets alone, which has no clean score
        return _best(self._grouped(rows)).mean()

    def units(self) -> Floats:
        """As in `ScoreMetric`; of official calls of several videos each call, whose videos are scored together."""
        if self.variant != "official" or self.videos_per_call == 1:
            return super().units()
        rows = self.joined("records").view(-1, 1 + self.width)
        calls = _best(self._grouped(rows)).cpu().double().numpy()
        return np.stack([np.ones_like(calls), calls], 1)

    def scores_of_sums(self, sums: Floats) -> Mapping[str, Floats]:
        """The same of drawn clips."""
        if self.variant == "official":
            return {"": sums[:, 1] / sums[:, 0]}
        if self.variant == "pooled":
            return {"": sums[:, 2] / sums[:, 3]}
        return {"": (sums[:, 2:] / sums[:, 1:2]).max(1)}

    def sizes(self) -> Mapping[str, int]:
        """Clips with frames that count."""
        return {"": round(float(super().units()[:, 0].sum()))}

    def _grouped(self, rows: Tensor) -> Tensor:
        """Rows of videos summed for each official call; the last call may have fewer videos."""
        missing = -len(rows) % self.videos_per_call
        rows = torch.cat([rows, rows.new_zeros((missing, 1 + self.width))])
        return rows.view(-1, self.videos_per_call, 1 + self.width).sum(1)

    def _frame_values(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Values (N, width) of frames and which of them count, bool (N,)."""
        raise NotImplementedError


class MaskIoU(_VideoMetric):
    """Mean IoU of binary masks, as published for AVSBench S4 and MS3.

    `official`: mean over frames within a call, then over calls; frames with an empty target score the share of their
    pixels that are predicted empty. `clean`: mean over all frames with a target, each with equal weight; it ignores
    false alarms on silent frames, so read it beside the official figure. `pooled`: intersection over union of all
    pixels of all frames, so large sources weigh more and false alarms on silent frames count.

    Args:
        videos_per_call: Videos of one official call; matters only where calls differ in their number of frames. In
            distributed runs calls are made of the videos of one rank.
        variant: `official`, `clean` or `pooled`; only `official` uses `videos_per_call`.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For an unknown variant or a call of no video.
    """

    variants = ("official", "clean", "pooled")

    def __init__(self, videos_per_call: int = 1, variant: str = "official", **kwargs: Any) -> None:
        self.width = 2 if variant == "pooled" else 1  # intersection and union, or the IoU
        super().__init__(videos_per_call, variant, **kwargs)

    def compute(self) -> Tensor:
        """The score so far, a float32 scalar in [0, 1]; NaN if there is no frame that counts."""
        rows = self.joined("records")
        if self.variant != "pooled" or not len(rows):
            return super().compute()
        shared, union = rows.view(-1, 3)[:, 1:].double().sum(0)
        return (shared / union).float()

    def _frame_values(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if self.variant == "pooled":
            pixels = overlap(logits, target)[:2].T
            return pixels.float(), torch.ones(len(pixels), dtype=torch.bool, device=pixels.device)
        counted = has_source(target)
        if self.variant == "official":
            counted = torch.ones_like(counted)
        return iou(logits, target)[:, None], counted


class MaskFScore(_VideoMetric):
    """F-score (beta squared 0.3) of binary masks, as published for AVSBench S4 and MS3.

    `official`: F curves over 255 thresholds are averaged over the frames of one call that have a target, the maximum of
    that average is the call's score, and calls are averaged; a call without targets scores 0. The result depends on
    `videos_per_call`. `clean`: one curve for the whole set, so it is independent of batches.

    Args:
        videos_per_call: Videos of one official call: 1 in AVSBench, 2 in AVSegFormer. In distributed runs calls are
            made of the videos of one rank, so give more than 1 only where one process evaluates.
        variant: `official` or `clean`; `clean` ignores `videos_per_call`.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For an unknown variant or a call of no video.
    """

    width = len(THRESHOLDS)

    def _frame_values(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return f_curves(logits, target), has_source(target)


def _best(calls: Tensor) -> Tensor:
    """Score of official calls (N,) from their number of frames and sums of values, (N, 1 + width); 0 without frames."""
    return (calls[:, 1:] / calls[:, :1].clamp(min=1)).amax(1)


def _valid_frames(logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
    """Checked flags of the frames to score, bool (B, T)."""
    if logits.ndim != 4 or logits.shape != target.shape:
        raise ValueError(shape_message(logits, target, "(B, T, H, W)"))
    if valid is None:
        return torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
    if valid.shape != logits.shape[:2] or valid.dtype != torch.bool:
        raise ValueError(
            f"valid is {valid.dtype} of shape {tuple(valid.shape)}; give a bool tensor (B, T), "
            f"here {tuple(logits.shape[:2])}."
        )
    return valid
