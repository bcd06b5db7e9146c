# SPDX-License-Identifier: Apache-2.0
"""What tasks with masks share: metrics, scoring, constant masks."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from avkit.batch import Batch, Prediction
from avkit.metrics.avs import MaskFScore, MaskIoU
from avkit.nn.mask_losses import known_steps

#: Logit of a pixel that a constant mask is certain of.
CERTAIN = 20.0
#: Metrics of binary masks.
MASK_METRICS = ("mIoU", "F")


def mask_metrics() -> dict[str, Metric]:
    """MIoU and F-score of S4 and MS3, official: one video per call."""
    return {"mIoU": MaskIoU(), "F": MaskFScore()}


def score_masks(metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
    """Update mIoU and F with the annotated steps of a batch."""
    for name in MASK_METRICS:
        metrics[name].update(prediction["mask_logits"], batch.targets["mask"], known_steps(batch), batch.id)


def constant_masks(batches: Sequence[Batch]) -> dict[str, Callable[[Batch], Tensor]]:
    """Masks that ignore the clip: nothing, everything, and the mean training mask above its best thresholds.

    Returns:
        Functions from a batch to logits (B, T, H, W).
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

    def logits(batch: Batch) -> Tensor:
        shape = (*batch.valid.shape, *mask.shape)
        return ((2 * mask - 1) * CERTAIN).to(batch.valid.device).expand(shape)

    return logits
