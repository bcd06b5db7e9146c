# SPDX-License-Identifier: Apache-2.0
"""Losses of masks over the annotated steps of a batch, and masks at the size of the pictures."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Batch, exportable
from avkit.nn.losses import balanced_cross_entropy, mask_loss, mean_of
from avkit.nn.padding import taken


@exportable
@dataclass
class MaskOutput:
    """Masks of a head.

    Attributes:
        maps: Logits (B, T, 1 + classes, h, w): the mask, then background and classes.
        audio_logits: Logits (B, T, K) of the classes by sound alone, or None without classes.
    """

    maps: Tensor
    audio_logits: Tensor | None = None


def upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear from (B, T, K, h, w) to (B, T, K, H, W)."""
    if logits.shape[-2:] == size:
        return logits
    flat = F.interpolate(logits.flatten(0, 1), size, mode="bilinear", align_corners=False)
    return flat.unflatten(0, logits.shape[:2])


def picture_size(batch: Batch) -> tuple[int, int] | None:
    """Height and width of the batch's pictures; of its true masks where features stand for pictures; None without."""
    pictures = batch.targets.get("mask") if batch.frames is None else batch.frames
    return None if pictures is None else (pictures.shape[-2], pictures.shape[-1])


def image_size_of(batch: Batch, logits: Tensor) -> tuple[int, int]:
    """Height and width at which masks are answered: see `picture_size`; where that is not known, of the logits.

    Source:
        The official networks bring their logits to the size of the true masks, bilinear, and their scores take equal
        sizes alone (vvvb-github/AVSegFormer at commit 1666d4da378d, `scripts/s4/utility.py`, `mask_iou`).
    """
    return picture_size(batch) or (logits.shape[-2], logits.shape[-1])


def known_steps(batch: Batch) -> Tensor:
    """Bool (B, T): valid steps with an annotated mask."""
    known: Tensor = batch.targets["mask_known"]
    return known.bool() & batch.valid


def annotated(x: Tensor, batch: Batch) -> Tensor:
    """The annotated steps of (B, T, ...), as (N, ...)."""
    if batch.rows is not None:
        return taken(x, batch.rows.annotated)
    known = known_steps(batch)
    return x.flatten(0, 1) if bool(known.all()) else x[known]


def annotated_mask_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Binary cross-entropy and Dice of logits (B, T, 1, h, w), at the size of the true masks."""
    target = annotated(batch.targets["mask"], batch)
    maps = annotated(logits, batch)
    maps = F.interpolate(maps, target.shape[-2:], mode="bilinear", align_corners=False)
    return mask_loss(maps[:, 0], target)


def resize_annotated(maps: Tensor, batch: Batch, target: Tensor) -> Tensor:
    """Annotated steps of (B, T, K, h, w) at the size of true masks (N, H, W), bilinear: (N, K, H, W)."""
    maps = annotated(maps, batch)
    if maps.shape[-2:] == target.shape[-2:]:
        return maps
    return F.interpolate(maps, target.shape[-2:], mode="bilinear", align_corners=False)


def class_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy over classes of logits (B, T, K, h, w): mean over pixels, then over annotated steps.

    Raises:
        ValueError: If the batch has no class masks.
    """
    if "class_mask" not in batch.targets:
        raise ValueError("system.semantic asks for masks of classes, and the data have none. Leave it out.")
    target = annotated(batch.targets["class_mask"], batch)
    maps = resize_annotated(logits, batch, target)
    pixels = target[0].numel() if len(target) else 1
    total = F.cross_entropy(maps, target.long(), reduction="sum") / pixels
    return mean_of(total, len(target))


def mask_losses(output: MaskOutput, batch: Batch) -> dict[str, Tensor]:
    """`mask` of the first map and, where output and batch have classes, `classes` of the others and `audio_classes`.

    The mask's loss is binary cross-entropy and Dice at the size of the true masks. The classes' loss is cross-entropy
    at the size of the maps, with equal weight on background and foreground, because few pixels sound. The loss of the
    sound's logits is binary cross-entropy on which classes have a pixel: it trains the audio branch long before the
    masks are good enough to do so.
    """
    logits = output.maps
    losses = {"mask": annotated_mask_loss(logits[:, :, :1], batch)}
    if "class_mask" not in batch.targets or logits.shape[2] == 1:
        return losses
    maps = annotated(logits[:, :, 1:], batch)
    target = annotated(batch.targets["class_mask"], batch)
    target = F.interpolate(target[:, None].float(), maps.shape[-2:], mode="nearest-exact")[:, 0].long()
    losses["classes"] = balanced_cross_entropy(maps, target)
    if output.audio_logits is not None:
        losses["audio_classes"] = _audio_class_loss(annotated(output.audio_logits, batch), target)
    return losses


def _audio_class_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of (N, K) on which classes have a pixel in (N, h, w), summed over classes, mean over N."""
    present = logits.new_zeros(len(logits), logits.shape[1] + 1).scatter_(1, target.flatten(1), 1)[:, 1:]
    return mean_of(F.binary_cross_entropy_with_logits(logits, present, reduction="sum"), len(target))
