# SPDX-License-Identifier: Apache-2.0
"""Slots: sources of a clip told apart, so that each has a mask and a sentence of its own.

Ours. The paper has one mask and one sentence a frame; here the pixels of this mask are dealt out to K slots.
"""

from dataclasses import dataclass
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch, exportable
from avkit.nn.captions import WrittenCaptions
from avkit.nn.losses import mean_of
from avkit.nn.mask_losses import known_steps, upsample
from avkit.nn.pooling import shrink

#: Rows and columns of the grid on which slots are found.
_GRID = 32
_ROUNDS = 3


class SourceSlots(nn.Module):
    """Deals the pixels that sound out to K slots, each of which gathers one source over all steps of a clip.

    Slots begin as learned vectors. In each of three rounds they compete for the pixels of all steps, weighted by how
    probably these sound, and move to the mean of what they won; so a slot stays with its source while that moves.

    Args:
        width: Width D of the mask features.
        slots: Number K.

    Source:
        Locatello et al., Object-centric learning with slot attention, NeurIPS 2020; with learned beginnings, weights of
        pixels, and supervision.
    """

    def __init__(self, width: int, slots: int) -> None:
        super().__init__()
        self.begin = nn.Parameter(torch.randn(slots, width))
        self.norm = nn.LayerNorm(width)
        self.slot_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.update = nn.GRUCell(width, width)
        self.inner = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, features: Tensor, sounding: Tensor) -> Tensor:
        """Logits of the slot that each pixel belongs to.

        Args:
            features: Mask features, (B, T, D, h, w).
            sounding: How probably each pixel sounds, in [0, 1], 0 in padding, (B, T, H, W).

        Returns:
            (B, T, K, h, w).
        """
        batch, steps, _, height, width = features.shape
        pixels = self.norm(features.movedim(2, -1))
        slots = self._gather(pixels, sounding.detach())
        query = self.query(self.slot_norm(slots))
        keys = self.key(pixels.flatten(1, 3))
        logits = keys @ query.transpose(1, 2) * keys.shape[-1] ** -0.5
        return logits.view(batch, steps, height, width, -1).movedim(-1, 2)

    def _gather(self, pixels: Tensor, sounding: Tensor) -> Tensor:
        """Slots (B, K, D) of pixels (B, T, h, w, D)."""
        grid = (min(_GRID, pixels.shape[2]), min(_GRID, pixels.shape[3]))
        small = shrink(pixels.flatten(0, 1).movedim(-1, 1), grid)
        weights = F.adaptive_avg_pool2d(sounding.flatten(0, 1)[:, None], grid).reshape(len(pixels), 1, -1)
        tokens = small.flatten(2).transpose(1, 2).reshape(len(pixels), -1, pixels.shape[-1])
        keys = self.key(tokens)
        values = self.value(tokens)
        slots = self.begin.repeat(len(pixels), 1, 1)
        for _ in range(_ROUNDS):
            query = self.query(self.slot_norm(slots))
            shares = (query @ keys.transpose(1, 2) * keys.shape[-1] ** -0.5).softmax(1) * weights
            won = shares @ values / (shares.sum(2, keepdim=True) + 1e-4)
            slots = self.update(won.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
            slots = slots + self.inner(slots)
        return slots


@exportable
@dataclass
class SlotTargets:
    """What each slot is to be, in training.

    Attributes:
        source: Number of the true source of each slot, int64 (B, K); -1 for none.
        cost: Mean cross-entropy of the pixels of this source, (B, K); 0 for none.
    """

    source: Tensor
    cost: Tensor

    def loss(self) -> Tensor:
        """Mean cost of the sources."""
        return mean_of(self.cost.sum(), (self.source >= 0).sum())


@dataclass
class SlotRegions:
    """Where the source of each slot is.

    Attributes:
        masks: Probabilities of the mask of each slot, (B, T, K, H, W).
        source: Number of the true source of each slot, (B, K), -1 for none; None outside of training.
    """

    masks: Tensor
    source: Tensor | None = None

    def written(self, slot: int, batch: Batch) -> WrittenCaptions:
        """The true captions of the source of a slot, in steps in which it is in view."""
        assert self.source is not None
        masks = batch.targets["source_mask"].flatten(3).any(3) & batch.targets["source_known"]
        in_view = masks & batch.valid[..., None]
        texts = []
        steps = torch.zeros_like(batch.valid)
        for clip, source in enumerate(self.source[:, slot].tolist()):
            if source < 0:
                continue
            for step in in_view[clip, :, source].nonzero()[:, 0].tolist():
                text = batch.targets["source_caption"][clip][step][source]
                if text.strip():
                    texts.append(text)
                    steps[clip, step] = True
        return WrittenCaptions(texts, steps, steps.flatten().nonzero()[:, 0])

    def shown(self, slot: int, batch: Batch, *, true: bool) -> Tensor:
        """The masks of a slot, (B, T, H, W); those of its true source where these are annotated, if `true`."""
        masks = self.masks[:, :, slot]
        if not true or self.source is None:
            return masks
        source = self.source[:, slot]
        clips = torch.arange(len(source), device=source.device)
        wanted = batch.targets["source_mask"][clips, :, source.clamp(min=0)]
        known = batch.targets["source_known"][clips, :, source.clamp(min=0)] & (source >= 0)[:, None]
        return with_true_masks(masks, wanted, known)


def with_true_masks(masks: Tensor, true: Tensor, known: Tensor) -> Tensor:
    """Masks (B, T, h, w) in [0, 1], with the true ones, (B, T, H, W), where these are `known`, bool (B, T)."""
    values = true.float().masked_fill(~known[..., None, None], torch.nan)
    values = F.interpolate(values, masks.shape[-2:], mode="nearest-exact")
    return torch.where(values.isnan(), masks, values)


def slot_masks(masks: Tensor, slots: Tensor) -> Tensor:
    """Probabilities of the mask of each slot: that of the mask where it wins, less where another does.

    The greatest of all slots is the probability of the mask itself, so the mask is their union.

    Args:
        masks: Mask logits, (B, T, 1, H, W).
        slots: Logits of the slot of each pixel, (B, T, K, h, w).

    Returns:
        (B, T, K, H, W).
    """
    shares = upsample(slots, (masks.shape[-2], masks.shape[-1])).softmax(2)
    return masks.sigmoid() * shares / shares.amax(2, keepdim=True)


def match_slots(slots: Tensor, batch: Batch) -> SlotTargets:
    """Give each slot a true source of its clip, one to one, so that the sum of costs is least.

    The cost of a source is the mean cross-entropy of its pixels in all annotated steps, so small sources count as much
    as large ones. Of more sources than slots the largest are taken.

    Args:
        slots: Logits of the slot of each pixel, (B, T, K, h, w).
        batch: The batch, with true sources.

    Raises:
        ValueError: If the data do not tell sources apart.
    """
    if "source_mask" not in batch.targets:
        raise ValueError(
            "The model is to keep sources apart, and the data do not: a manifest tells them apart by 'sources', a "
            "folder by numbers in its masks. Set sources to 1, or take other data."
        )
    count = slots.shape[2]
    known = batch.targets["source_known"] & known_steps(batch)[..., None]
    true = batch.targets["source_mask"].float() * known[..., None, None]
    true = F.pad(true, (0, 0, 0, 0, 0, max(0, count - true.shape[2])))
    area = true.sum((1, 3, 4))
    chosen = area.topk(count, 1).indices
    index = chosen[:, None, :, None, None].expand(-1, true.shape[1], -1, *true.shape[3:])
    weights = F.adaptive_avg_pool2d(true.gather(2, index).flatten(0, 1), (slots.shape[-2], slots.shape[-1])).view_as(
        slots
    )
    shared = torch.einsum("btkhw,btshw->bks", -slots.float().log_softmax(2), weights)
    costs = shared / weights.sum((1, 3, 4)).clamp(min=1e-6)[:, None]
    orders = torch.tensor(list(permutations(range(count))), device=slots.device)
    sums = costs[:, torch.arange(count, device=slots.device), orders].sum(2)
    order = orders[sums.argmin(1)]
    cost = costs.gather(2, order[..., None])[..., 0]
    source = chosen.gather(1, order)
    exists = area.gather(1, source) > 0
    return SlotTargets(torch.where(exists, source, -1), torch.where(exists, cost, 0))
