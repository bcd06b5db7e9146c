# SPDX-License-Identifier: Apache-2.0
"""The training criterion of SSUFormer."""

import torch
from torch import Tensor, nn

from avkit.batch import Batch, Losses
from avkit.nn.losses import dice_loss, focal_loss, mask_loss, mean_of
from avkit.nn.mask_losses import annotated, upsample
from avkit.systems.ssuformer.collaboration import region_consistency
from avkit.systems.ssuformer.options import AnsweringOptions
from avkit.systems.ssuformer.output import TaughtCaptions, UnderstandingOutput

#: Exponent of the focal loss.
GAMMA = 2.0
#: Share of the way to equal contributions that a learned weight goes in a step.
FOLLOWING = 0.01


class AdaptiveWeight(nn.Module):
    """`a L_seg + (1 - a) L_tex` with a weight a that is fixed, or that lets both parts contribute equally.

    The learned weight follows `L_tex / (L_seg + L_tex)` of the last hundred or so training steps, between a floor and
    one minus it. A weight that is trained by the sum itself moves towards the smaller loss until it meets the floor.

    Args:
        initial: Weight a at the beginning.
        learned: Learn it.
        floor: Least weight of either loss.

    Raises:
        ValueError: If the initial weight lies outside of the floor and one minus it.

    Source:
        RA-SSU (arXiv 2603.09809), Eq. 4: a = 0.25 "in practice", and "adaptive"; the rule, which it leaves open, is
        ours. It is where weights by uncertainty come to rest (Kendall et al., CVPR 2018): each loss over itself.
    """

    logit: Tensor

    def __init__(self, initial: float = 0.25, learned: bool = False, floor: float = 0.05) -> None:
        super().__init__()
        if not floor < initial < 1 - floor:
            raise ValueError(f"a starts at {initial}; it lies between the floor {floor} and {1 - floor}.")
        self.floor = floor
        self.fixed = initial
        self.learned = learned
        if learned:
            self.register_buffer("logit", torch.logit(self._position(torch.tensor(initial))))

    @property
    def value(self) -> Tensor | float:
        """The weight a."""
        if not self.learned:
            return self.fixed
        return self.floor + (1 - 2 * self.floor) * self.logit.sigmoid()

    def forward(self, masks: Tensor, text: Tensor) -> Tensor:
        """The weighted sum of both losses; in training the learned weight moves before."""
        if self.learned and self.training:
            self._follow(masks.detach(), text.detach())
        value = self.value
        return value * masks + (1 - value) * text

    def _follow(self, masks: Tensor, text: Tensor) -> None:
        """Move towards the weight with which both losses contribute equally."""
        wanted = text / (masks + text).clamp(min=1e-6)
        value = torch.lerp(torch.as_tensor(self.value), wanted.clamp(self.floor, 1 - self.floor), FOLLOWING)
        inside = self._position(value).clamp(1e-4, 1 - 1e-4)
        self.logit.copy_(torch.logit(inside))

    def _position(self, value: Tensor) -> Tensor:
        """Where a weight lies between the floor and one minus it, in [0, 1]."""
        return (value - self.floor) / (1 - 2 * self.floor)


class UnderstandingCriterion(nn.Module):
    """`a L_seg + (1 - a) L_tex + L_clip`: Dice, focal loss per word piece, and regional consistency.

    Where only masks or only captions are asked for, their loss is taken as it is.

    Args:
        options: Choice and weights of the losses.
        pad: Index of padding among word pieces.

    Source:
        RA-SSU (arXiv 2603.09809), Eq. 4-6.
    """

    def __init__(self, options: AnsweringOptions, pad: int = 0) -> None:
        super().__init__()
        self.options = options
        self.pad = pad
        self.weight = AdaptiveWeight(options.mask_weight, options.balance == "learned", options.min_weight)

    def forward(self, output: UnderstandingOutput, batch: Batch) -> Losses:
        """The total `loss`, and `mask`, `words`, `consistency` and `sources` where there are any.

        Not part of the total, but worth watching: `mask_weight` where it is learned, and `expert_share`, the mean
        weight of the vision-language model where it has features.

        Raises:
            ValueError: If captions were generated, which have no loss.
        """
        if output.generated is not None:
            raise ValueError("This output has generated captions, which have no loss. Call `train()` before the model.")
        parts: Losses = {}
        if output.masks is not None:
            parts["mask"] = self.mask_loss(output.masks, batch)
        if output.taught is not None:
            parts["words"] = self.caption_loss(output.taught)
        if len(parts) == 2:
            total = self.weight(parts["mask"], parts["words"])
        else:
            (total,) = parts.values()
        if output.taught is not None and output.taught.regions is not None and output.taught.captions is not None:
            distance = region_consistency(output.taught.regions, output.taught.captions)
            parts["consistency"] = mean_of(distance.sum(), len(distance))
            total = total + self.options.rcc_weight * parts["consistency"]
        if output.slot_targets is not None:
            parts["sources"] = output.slot_targets.loss()
            total = total + self.options.source_weight * parts["sources"]
        return {"loss": total, **parts, **self.watched(output)}

    def mask_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Loss of logits (B, T, 1, h, w) over annotated steps, at the size of the true masks."""
        target = annotated(batch.targets["mask"], batch)
        maps = annotated(upsample(logits, (target.shape[-2], target.shape[-1])), batch)[:, 0]
        if self.options.mask_loss == "dice+bce":
            return mask_loss(maps, target)
        return mean_of(dice_loss(maps, target).sum(), len(target))

    def caption_loss(self, captions: TaughtCaptions) -> Tensor:
        """Focal loss or cross-entropy per word piece."""
        gamma = GAMMA if self.options.text_loss == "focal" else 0.0
        return focal_loss(captions.logits.flatten(0, 1), captions.pieces[:, 1:].flatten(), gamma, self.pad)

    def watched(self, output: UnderstandingOutput) -> Losses:
        """Values that are logged and not minimised."""
        values: Losses = {}
        weight = self.weight.value
        both = output.masks is not None and output.taught is not None
        if both and isinstance(weight, Tensor):
            values["mask_weight"] = weight
        if output.taught is not None and output.taught.expert is not None:
            expert = output.taught.expert
            if bool(expert.available.any()):
                values["expert_share"] = expert.share[expert.available].mean()
        return values
