# SPDX-License-Identifier: Apache-2.0
"""What tasks with masks share: metrics, scoring, constant masks."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from avkit.batch import Batch, Prediction
from avkit.metrics.avs import MaskFScore, MaskIoU
from avkit.nn.mask_losses import known_steps

#: Metrics of binary masks.
MASK_METRICS = ("mIoU", "F")


def mask_metrics(videos_per_call: int = 1) -> dict[str, Metric]:
    """MIoU and F-score of S4 and MS3, official; so many videos are scored together, one as AVSBench does."""
    return {
        "mIoU": MaskIoU(videos_per_call, form="probabilities"),
        "F": MaskFScore(videos_per_call, form="probabilities"),
    }


def score_masks(metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
    """Update mIoU and F with the annotated steps of a batch."""
    for name in MASK_METRICS:
        metrics[name].update(prediction["mask"], batch.targets["mask"], known_steps(batch), batch.id)


def constant_masks(batches: Sequence[Batch]) -> dict[str, Callable[[Batch], Tensor]]:
    """Masks that ignore the clip: nothing, everything, and the mean training mask above its best thresholds.

    Returns:
        Functions from a batch to masks of 0 and 1, (B, T, H, W).
    """
    total = torch.zeros_like(batches[0].targets["mask"][0, 0], dtype=torch.float32)
    count = 0
    for batch in batches:
        known = known_steps(batch)
        total = total + batch.targets["mask"][known].float().sum(0)
        count += int(known.sum())
    mean = total / max(1, count)
    masks = {"empty": torch.zeros_like(mean), "everything": torch.ones_like(mean)}
    for share in (0.5, 0.75):
        masks[f"mean mask > {share:g} of its peak"] = (mean > share * mean.max()).float()
    return {name: _constant(mask) for name, mask in masks.items()}


def _constant(mask: Tensor) -> Callable[[Batch], Tensor]:
    """The same mask in every step."""

    def maps(batch: Batch) -> Tensor:
        return mask.to(batch.valid.device).expand(*batch.valid.shape, *mask.shape)

    return maps
