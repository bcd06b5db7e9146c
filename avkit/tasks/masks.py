# SPDX-License-Identifier: Apache-2.0
"""What tasks with masks share: upsampling to pixels, scoring, constant masks."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from avkit.batch import Batch, Prediction, Vocabulary
from avkit.heads.mask import MaskOutput
from avkit.metrics.avs import MaskFScore, MaskIoU
from avkit.nn.losses import balanced_cross_entropy, mask_loss, mean_of

#: Logit of a pixel that a constant mask is sure of.
_SURE = 20.0


def upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear from (B, T, K, h, w) to (B, T, K, H, W)."""
    if logits.shape[-2:] == size:
        return logits
    flat = F.interpolate(logits.flatten(0, 1), size, mode="bilinear", align_corners=False)
    return flat.unflatten(0, logits.shape[:2])


def picture_size(batch: Batch, logits: Tensor) -> tuple[int, int]:
    """Height and width of the batch's pictures; of the logits where features stand for pictures."""
    shape = (batch.frames if batch.frames is not None else logits).shape
    return shape[-2], shape[-1]


def known_steps(batch: Batch) -> Tensor:
    """Bool (B, T): steps that exist and have an annotated mask."""
    known: Tensor = batch.targets["mask_known"]
    return known.bool() & batch.valid


def annotated(x: Tensor, batch: Batch) -> Tensor:
    """The annotated steps of (B, T, ...), as (N, ...)."""
    known = known_steps(batch)
    return x.flatten(0, 1) if bool(known.all()) else x[known]


def annotated_mask_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Binary cross-entropy and Dice of logits (B, T, 1, h, w), at the size of the true masks."""
    target = annotated(batch.targets["mask"], batch)
    found = annotated(logits, batch)
    found = F.interpolate(found, target.shape[-2:], mode="bilinear", align_corners=False)
    return mask_loss(found[:, 0], target)


def mask_losses(out: MaskOutput, batch: Batch) -> dict[str, Tensor]:
    """`mask` of the first map and, where head and batch have classes, `classes` of the others and `heard` of the sound.

    The mask's loss is binary cross-entropy and Dice at the size of the true masks; the classes' is cross-entropy at the
    size of the maps, with as much weight on what sounds as on all the background, since few pixels sound. The sound's
    is binary cross-entropy on whether a class has a pixel, which is nearly whether it is heard: listening is learnt by
    itself, long before masks are good enough to teach it.

    Args:
        out: Of a mask head.
        batch: Of masks, and of class masks if there are any.
    """
    logits = out.maps
    losses = {"mask": annotated_mask_loss(logits[:, :, :1], batch)}
    if "class_mask" in batch.targets and logits.shape[2] > 1:
        found, target = annotated(logits[:, :, 1:], batch), annotated(batch.targets["class_mask"], batch)
        target = F.interpolate(target[:, None].float(), found.shape[-2:], mode="nearest-exact")[:, 0].long()
        losses["classes"] = balanced_cross_entropy(found, target)
        if out.heard is not None:
            losses["heard"] = _heard_loss(annotated(out.heard, batch), target)
    return losses


def _heard_loss(heard: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of (N, K) on which classes have a pixel in (N, h, w), summed over classes, mean over N."""
    present = F.one_hot(target, heard.shape[1] + 1).flatten(1, 2).any(1)[:, 1:].to(heard.dtype)
    return mean_of(F.binary_cross_entropy_with_logits(heard, present, reduction="sum"), len(target))


def count_classes(vocabulary: Vocabulary) -> int:
    """Class maps with background, 0 where the dataset names no class."""
    return len(vocabulary.classes) + 1 if vocabulary.classes else 0


def mask_metrics() -> dict[str, Metric]:
    """MIoU and F-score of S4 and MS3, official: one video per call."""
    return {"mIoU": MaskIoU(), "F": MaskFScore()}


def score_masks(metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
    """Update mIoU and F with the annotated steps of a batch."""
    for name in ("mIoU", "F"):
        metrics[name].update(prediction["mask_logits"], batch.targets["mask"], known_steps(batch))


def constant_masks(batches: Sequence[Batch]) -> dict[str, Callable[[Batch], Tensor]]:
    """Masks that ignore the clip: nothing, everything, and the mean training mask above its best thresholds.

    Returns:
        Functions from a batch to logits (B, T, H, W).
    """
    known = [known_steps(b) for b in batches]
    total = sum(b.targets["mask"][k].float().sum(0) for b, k in zip(batches, known, strict=True))
    mean = torch.as_tensor(total) / max(1, sum(int(k.sum()) for k in known))
    masks = {"empty": torch.zeros_like(mean), "everything": torch.ones_like(mean)}
    masks |= {f"mean mask > {q:g} of its peak": (mean > q * mean.max()).float() for q in (0.5, 0.75)}

    def constant(mask: Tensor) -> Callable[[Batch], Tensor]:
        return lambda batch: ((2 * mask - 1) * _SURE).to(batch.valid.device).expand(*batch.valid.shape, *mask.shape)

    return {name: constant(mask) for name, mask in masks.items()}
