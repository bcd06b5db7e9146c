# SPDX-License-Identifier: Apache-2.0
"""Masks as AVSegFormer and TPAVI learn them; their networks answer, so heads hand on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch, Prediction, Vocabulary
from avkit.nn.losses import dice_loss, mean_of
from avkit.tasks.avs import Segmentation
from avkit.tasks.masks import annotated, known_steps, picture_size, upsample


@dataclass
class MaskNetOutput:
    """What a network of masks says.

    Attributes:
        logits: (B, T, K, h, w): of the mask, or of background and classes.
        features: Maps that they were made of, (B, T, D, h, w), or None.
        maps: Maps of a pyramid, (B T, D, h, w) each, that a loss compares with sound; empty where none does.
        sounds: What they are compared with, (B T, D) each.
    """

    logits: Tensor
    features: Tensor | None = None
    maps: Sequence[Tensor] = ()
    sounds: Sequence[Tensor] = ()

    @classmethod
    def of(cls, logits: Tensor, features: Tensor | None, valid: Tensor) -> "MaskNetOutput":
        """Of masks (N, K, h, w) and maps (N, D, h, w) of the N steps that are valid, bool (B, T)."""
        return cls(spread(logits, valid), None if features is None else spread(features, valid))


def spread(x: Tensor, valid: Tensor) -> Tensor:
    """Rows of valid steps, (N, ...), at their places, (B, T, ...); zeros elsewhere."""
    if valid.all():
        return x.unflatten(0, valid.shape)
    out = x.new_zeros((*valid.shape, *x.shape[1:]))
    out[valid] = x
    return out


class NetworkMasks(Segmentation):
    """Segmentation with one mask of all that sounds, or with classes and no mask beside them.

    Args:
        vocabulary: The dataset's classes.
        semantic: Whether classes are asked for.

    Raises:
        ValueError: If they are and the dataset names none.
    """

    forms = ()

    def __init__(self, vocabulary: Vocabulary, semantic: bool = False) -> None:
        super().__init__(vocabulary)
        self.semantic = semantic
        if semantic and not vocabulary.classes:
            raise ValueError(
                "system.semantic asks for masks of classes, and the dataset names none. Leave it out, or use AVSS."
            )

    @property
    def classes(self) -> int:
        """Classes with background, 0 where the mask alone is asked for."""
        return super().classes if self.semantic else 0

    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """Hands on what the system answers."""
        return nn.Identity()

    def predict(self, out: Any, batch: Batch) -> Prediction:
        """As `Segmentation`; with classes the mask is the odds of any class against the background."""
        logits = upsample(out.logits, picture_size(batch, out.logits)).float()
        if not self.classes:
            return Prediction(self.name, batch.id, {"mask": logits[:, :, 0].sigmoid(), "mask_logits": logits[:, :, 0]})
        found = logits.argmax(2)
        odds = logits[:, :, 1:].logsumexp(2) - logits[:, :, 0]
        values = {"mask": odds.sigmoid(), "mask_logits": odds, "class_scores": logits, "class_mask": found}
        return Prediction(self.name, batch.id, values)


class MixedMasks(NetworkMasks):
    """Segmentation as AVSegFormer learns it.

    Loss: Dice of the mask over annotated steps, or cross-entropy over classes, plus `mix` times the Dice of the mean
    over the channels of the mask features.

    Args:
        vocabulary: The dataset's classes.
        semantic: Whether classes are asked for.
        mix: Factor of the second.
    """

    def __init__(self, vocabulary: Vocabulary, semantic: bool = False, mix: float = 0.1) -> None:
        super().__init__(vocabulary, semantic)
        self.mix = mix

    def loss(self, out: MaskNetOutput, batch: Batch) -> dict[str, Tensor]:  # type: ignore[override]
        """`mask` or `classes`, and `mix`."""
        assert out.features is not None
        target = annotated(batch.targets["mask"], batch)
        count = known_steps(batch).sum()
        if self.classes:
            name, main = "classes", class_loss(out.logits, batch)
        else:
            name, main = "mask", mean_of(dice_loss(_sized(out.logits, batch, target)[:, 0], target).sum(), count)
        shown = _sized(out.features.mean(2, keepdim=True), batch, target)[:, 0]
        mix = self.mix * mean_of(dice_loss(shown, target).sum(), count)
        return {"loss": main + mix, name: main, "mix": mix}


class MatchedMasks(NetworkMasks):
    """Segmentation as TPAVI learns it.

    Loss: binary cross-entropy of the mask over annotated steps, or cross-entropy over classes; with `match` also how
    far what is under the mask is from the sound, as distributions over channels, summed over steps.

    Args:
        vocabulary: The dataset's classes.
        semantic: Whether classes are asked for.
        match: Factor of the second: 0 for S4, 0.5 for MS3.
    """

    def __init__(self, vocabulary: Vocabulary, semantic: bool = False, match: float = 0.0) -> None:
        super().__init__(vocabulary, semantic)
        self.match = match

    def loss(self, out: MaskNetOutput, batch: Batch) -> dict[str, Tensor]:  # type: ignore[override]
        """`mask` or `classes`, and `match`."""
        if self.classes:
            losses = {"classes": class_loss(out.logits, batch)}
        else:
            target = annotated(batch.targets["mask"], batch)
            found = _sized(out.logits, batch, target)[:, 0]
            bce = F.binary_cross_entropy_with_logits(found, target.to(found.dtype), reduction="sum")
            losses = {"mask": mean_of(bce, target.numel())}
        if self.match:
            valid = batch.valid.flatten()
            logits = out.logits.flatten(0, 1)[valid]
            cover = logits[:, 1:].logsumexp(1, keepdim=True) - logits[:, :1] if self.classes else logits
            maps, sounds = [x[valid] for x in out.maps], [x[valid] for x in out.sounds]
            losses["match"] = self.match * match_loss(cover, maps, sounds)
        return {"loss": sum(losses.values(), out.logits.new_zeros(())), **losses}


def match_loss(logits: Tensor, maps: Sequence[Tensor], sounds: Sequence[Tensor]) -> Tensor:
    """How far maps under a mask are from sounds: KL divergence over channels, summed over pictures, mean over levels.

    The mask's logits are averaged over cells before the sigmoid, and a map under it is averaged over all cells.

    Args:
        logits: Of masks, (N, 1, H, W).
        maps: (N, D, h, w) each.
        sounds: (N, D) each.

    Source:
        OpenNLPLab/AVSBench at commit f7414aff6aed, `avs_ms3/loss.py` with the released flags.
    """
    total = logits.new_zeros(())
    for level, sound in zip(maps, sounds, strict=True):
        cover = F.adaptive_avg_pool2d(logits, (level.shape[2], level.shape[3])).sigmoid()
        under = (level * cover).mean((2, 3)).log_softmax(-1)
        total = total + F.kl_div(under, sound.softmax(-1), reduction="sum")
    return total / len(maps)


def class_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy over classes of logits (B, T, K, h, w): mean over pixels, then over annotated steps.

    Raises:
        ValueError: If the batch has no masks of classes.
    """
    if "class_mask" not in batch.targets:
        raise ValueError("Classes are to be learnt, and the data have no masks of classes. Leave system.semantic out.")
    target = annotated(batch.targets["class_mask"], batch)
    found = _sized(logits, batch, target)
    total = F.cross_entropy(found, target.long(), reduction="sum") / (target[0].numel() if len(target) else 1)
    return mean_of(total, torch.as_tensor(len(target)))


def _sized(x: Tensor, batch: Batch, target: Tensor) -> Tensor:
    """Annotated steps of (B, T, K, h, w) at the size of the true masks (N, H, W)."""
    found = annotated(x, batch)
    if found.shape[-2:] == target.shape[-2:]:
        return found
    return F.interpolate(found, target.shape[-2:], mode="bilinear", align_corners=False)
