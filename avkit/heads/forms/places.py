# SPDX-License-Identifier: Apache-2.0
"""Boxes and masks as items: where in the picture something sounds."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Batch
from avkit.heads.forms.base import CERTAIN_LOGIT, DEFAULT_SIDE, Alphabet, Form, Item, Written
from avkit.nn.mask_losses import picture_size


class BoxForm(Form):
    """`ssl`: left, top, right and bottom of each source of sound in the step."""

    slots = ("bin", "bin", "bin", "bin")
    per_step = True
    max_items = 4

    def annotated(self, fields: dict[str, Any], batch: Batch) -> Tensor:
        """Steps with a box."""
        with_box: Tensor = batch.valid & fields["boxes"].isfinite().all(-1).any(-1)
        return with_box

    def bounds(self, slot: int, item: list[Tensor], before: list[Tensor] | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """Right of left, and below the top."""
        bins = self.alphabet.bins
        if slot < 2:
            return like, like + bins
        return item[slot - 2] + 1, like + bins + 1

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """Boxes, edges rounded to bins."""
        bins = self.alphabet.bins
        for boxes in fields["boxes"][kept]:
            edges = (boxes[boxes.isfinite().all(-1)].clamp(0, 1) * bins).round().long()
            low = edges[:, :2].clamp(max=bins - 1)
            high = edges[:, 2:].maximum(low + 1)
            items = [tuple(row) for row in torch.cat([low, high], 1).tolist()]
            yield items[: self.max_items]

    def values(self, rows: list[list[Item]], written: Written, batch: Batch) -> dict[str, Any]:
        """`heat`, minus the distance to the nearest box, and `boxes`."""
        count = max(1, *(len(items) for items in rows))
        boxes = torch.full((len(rows), count, 4), torch.nan)
        for row, items in zip(boxes, rows, strict=True):
            if items:
                row[: len(items)] = torch.tensor(items) / self.alphabet.bins
        boxes = boxes.to(batch.valid.device)
        shape = batch.valid.shape
        heat = -_distance_to_boxes(boxes, DEFAULT_SIDE)
        return {"heat": heat.unflatten(0, shape), "boxes": boxes.unflatten(0, shape)}


def _distance_to_boxes(boxes: Tensor, side: int) -> Tensor:
    """Distance of each cell of a grid to the nearest of M boxes, (N, S, S); boxes (N, M, 4) in [0, 1], NaN for none."""
    centres = (torch.arange(side, device=boxes.device) + 0.5) / side
    before = boxes[..., :2, None] - centres
    after = centres - boxes[..., 2:, None]
    outside = torch.maximum(before, after).clamp(min=0)  # (N, M, 2, S)
    squared = outside[:, :, 0, None, :] ** 2 + outside[:, :, 1, :, None] ** 2
    return squared.nan_to_num(2.0).amin(1).sqrt()


class MaskForm(Form):
    """`avs`, `ra_ssu`: for each class that sounds in the step the class and its mask.

    Objects without a class share a class of their own, the last.
    """

    per_step = True
    ascending = True
    max_items = 4

    def __init__(self, alphabet: Alphabet) -> None:
        super().__init__(alphabet)
        self.at_once = alphabet.code.length
        self.slots = ("class", *["code"] * alphabet.code.length)

    def annotated(self, fields: dict[str, Any], batch: Batch) -> Tensor:
        """Steps whose mask is annotated."""
        with_mask: Tensor = fields["mask_known"].bool() & batch.valid
        return with_mask

    def bounds(self, slot: int, item: list[Tensor], before: list[Tensor] | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """Classes in their order, each once."""
        low, high = super().bounds(slot, item, before, like)
        if slot == 0 and before is not None:
            low = before[0] + 1
        return low, high

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """The largest masks of each step."""
        masks = fields["mask"][kept].bool()
        for mask, labels in zip(masks, self._labels(fields, kept, masks), strict=True):
            kinds, areas = labels[mask].unique(return_counts=True)
            kinds = kinds[areas.argsort(descending=True)[: self.max_items]].sort().values
            codes = self.alphabet.code.encode(mask & (labels == kinds[:, None, None]))
            yield [(int(kind), *row) for kind, row in zip(kinds, codes.tolist(), strict=True)]

    def _labels(self, fields: dict[str, Any], kept: Tensor, masks: Tensor) -> Tensor:
        """The class of each pixel of the masks, int64 (N, H, W)."""
        if "class_mask" not in fields:
            return torch.full_like(masks, self.classes, dtype=torch.long)
        labels = fields["class_mask"][kept].long() - 1
        return torch.where(labels < 0, self.classes, labels)

    def values(self, rows: list[list[Item]], written: Written, batch: Batch) -> dict[str, Any]:
        """`mask` and, where there are classes, `class_logits` and `class_mask`."""
        label = self._draw(rows, batch).unflatten(0, batch.valid.shape)
        mask = (label > 0).float()
        values: dict[str, Any] = {"mask": mask}
        if self.classes:
            named = torch.where(label > self.classes, 0, label)
            scores = F.one_hot(named, self.classes + 1).movedim(-1, 2).float() * CERTAIN_LOGIT
            values |= {"class_logits": scores, "class_mask": named}
        return values

    def _draw(self, rows: list[list[Item]], batch: Batch) -> Tensor:
        """One more than the class of each pixel of each row, 0 for none, int64 (N, H, W); later masks cover earlier."""
        device = batch.valid.device
        size = picture_size(batch) or (DEFAULT_SIDE, DEFAULT_SIDE)
        owners: list[int] = []
        items: list[Item] = []
        for number, row in enumerate(rows):
            owners += [number] * len(row)
            items += row
        flat = torch.tensor(items, device=device).reshape(len(items), len(self.slots))
        masks = self.alphabet.code.decode(flat[:, 1:].long(), size)
        label = torch.zeros(len(rows), *size, dtype=torch.long, device=device)
        for owner, kind, mask in zip(owners, flat[:, 0].tolist(), masks, strict=True):
            label[owner][mask] = int(kind) + 1
        return label
