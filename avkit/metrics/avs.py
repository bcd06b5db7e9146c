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
from avkit.metrics.inputs import ArrayLike, clip_names, to_tensor, valid_flags
from avkit.metrics.intervals import Floats
from avkit.metrics.mask_scores import THRESHOLDS, Masks, check_masks, f_curves, has_source, iou, overlap, shape_message
from avkit.metrics.score_forms import Form, check_form


class _VideoMetric(ScoreMetric):
    """Sums of frame values per video, kept in order, so that any loader batch size gives the same official calls."""

    #: Number of values per frame.
    width: int
    #: One row per video, flattened: the number of frames that count, then the sums of their values.
    records: list[Tensor]

    #: Accepted variants.
    variants: tuple[str, ...] = ("official", "clean")

    def __init__(
        self, videos_per_call: int = 1, variant: str = "official", *, form: Form | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_form(form)
        if variant not in self.variants:
            raise unknown_name("variant", variant, self.variants)
        if videos_per_call < 1:
            raise ValueError(f"videos_per_call={videos_per_call}; give 1 or more: AVSBench uses 1, AVSegFormer 2.")
        self.videos_per_call = videos_per_call
        self.variant = variant
        self.form: Form | None = form
        # flat, because torchmetrics gathers a one-dimensional tensor from a rank without data
        self.add_list_state("records", torch.zeros(0))
        self.add_blocks(1 if variant == "official" else 1 + self.width)

    def update(
        self,
        scores: ArrayLike,
        target: ArrayLike,
        valid: ArrayLike | None = None,
        clips: Sequence[str] | None = None,
    ) -> None:
        """Add clips.

        Args:
            scores: Of every pixel, float (B, T, H, W), or labels of 0 and 1; without B for one clip.
            target: 1 where something visible sounds, 0 elsewhere, of the same shape.
            valid: bool (B, T), False on frames to leave out: padding, or not annotated. None keeps all.
            clips: Names of the clips, for the interval, see `ScoreMetric.add_clips`.

        Raises:
            ValueError: If shapes differ, or on valid frames scores are NaN, not what `form` says or of a form that
                cannot be told, or `target` is not 0 or 1.
            TypeError: If something is no array of numbers.
        """
        given, true, flags = _clips(scores, target, valid)
        names = clip_names(clips, len(given))
        if flags.all():
            masks = check_masks(given.flatten(0, 1), true.flatten(0, 1), self.form)
        else:
            masks = check_masks(given[flags], true[flags], self.form)
        values, counted = self._frame_values(masks)
        rows = values.new_zeros((*flags.shape, 1 + self.width))
        rows[flags] = torch.cat([torch.ones_like(values[:, :1]), values], 1) * counted[:, None]
        scored = flags.any(1)
        sums = rows.sum(1)
        self.records.append(sums[scored].flatten())
        if self.variant == "official":
            self.add_clips(_best(sums)[:, None] * scored[:, None], names, scored)
        else:
            self.add_clips(sums, names, sums[:, 0] > 0)

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

    def _frame_values(self, masks: Masks) -> tuple[Tensor, Tensor]:
        """Values (N, width) of frames and which of them count, bool (N,)."""
        raise NotImplementedError


class MaskIoU(_VideoMetric):
    """Mean IoU of binary masks, as published for AVSBench S4 and MS3.

    `official`: mean over frames within a call, then over calls; frames with an empty target score the share of their
    pixels that are predicted empty. `clean`: mean over all frames with a target, each with equal weight; it ignores
    false alarms on silent frames, so read it beside the official figure. `pooled`: intersection over union of all
    pixels of all frames, so large sources weigh more and false alarms on silent frames count.

    Examples:
        >>> metric = MaskIoU(form="labels")
        >>> metric.update([[[[1, 1], [0, 0]]]], [[[[1, 0], [0, 0]]]])
        >>> float(metric.compute())
        0.5

    Args:
        videos_per_call: Videos of one official call; matters only where calls differ in their number of frames. In
            distributed runs calls are made of the videos of one rank.
        variant: `official`, `clean` or `pooled`; only `official` uses `videos_per_call`.
        form: What scores are: `logits`, `probabilities`, such as the masks of predictions, or `labels` of 0 and 1.
            Without it negative scores show that they are logits, and scores in [0, 1] are refused.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For an unknown variant or a call of no video.
    """

    variants = ("official", "clean", "pooled")

    def __init__(
        self, videos_per_call: int = 1, variant: str = "official", *, form: Form | None = None, **kwargs: Any
    ) -> None:
        self.width = 2 if variant == "pooled" else 1  # intersection and union, or the IoU
        super().__init__(videos_per_call, variant, form=form, **kwargs)

    def compute(self) -> Tensor:
        """The score so far, a float32 scalar in [0, 1]; NaN if there is no frame that counts."""
        rows = self.joined("records")
        if self.variant != "pooled" or not len(rows):
            return super().compute()
        shared, union = rows.view(-1, 3)[:, 1:].double().sum(0)
        return (shared / union).float()

    def _frame_values(self, masks: Masks) -> tuple[Tensor, Tensor]:
        if self.variant == "pooled":
            pixels = overlap(*masks)[:2].T
            return pixels.float(), torch.ones(len(pixels), dtype=torch.bool, device=pixels.device)
        counted = has_source(masks.target)
        if self.variant == "official":
            counted = torch.ones_like(counted)
        return iou(*masks)[:, None], counted


class MaskFScore(_VideoMetric):
    """F-score (beta squared 0.3) of binary masks, as published for AVSBench S4 and MS3.

    `official`: F curves over 255 thresholds are averaged over the frames of one call that have a target, the maximum of
    that average is the call's score, and calls are averaged; a call without targets scores 0. The result depends on
    `videos_per_call`. `clean`: one curve for the whole set, so it is independent of batches.

    Examples:
        >>> metric = MaskFScore(form="labels")
        >>> metric.update([[[[1, 1], [0, 0]]]], [[[[1, 0], [0, 0]]]])
        >>> round(float(metric.compute()), 4)
        0.5652

    Args:
        videos_per_call: Videos of one official call: 1 in AVSBench, 2 in AVSegFormer. In distributed runs calls are
            made of the videos of one rank, so give more than 1 only where one process evaluates.
        variant: `official` or `clean`; `clean` ignores `videos_per_call`.
        form: What scores are, as in `MaskIoU`.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For an unknown variant or a call of no video.
    """

    width = len(THRESHOLDS)

    def _frame_values(self, masks: Masks) -> tuple[Tensor, Tensor]:
        return f_curves(*masks), has_source(masks.target)


def _best(calls: Tensor) -> Tensor:
    """Score of official calls (N,) from their number of frames and sums of values, (N, 1 + width); 0 without frames."""
    return (calls[:, 1:] / calls[:, :1].clamp(min=1)).amax(1)


def _clips(scores: ArrayLike, target: ArrayLike, valid: ArrayLike | None) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and target (B, T, H, W), and checked flags of the frames to score, bool (B, T)."""
    given = to_tensor("scores", scores)
    true = to_tensor("target", target).to(given.device)
    flags = None if valid is None else to_tensor("valid", valid)
    if given.ndim == true.ndim == 3:
        given = given[None]
        true = true[None]
        flags = None if flags is None else flags[None]
    if given.ndim != 4 or given.shape != true.shape:
        raise ValueError(shape_message(given, true, "(B, T, H, W), or (T, H, W) for one clip"))
    return given, true, valid_flags(flags, given)
