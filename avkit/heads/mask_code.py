# SPDX-License-Identifier: Apache-2.0
"""Masks as short rows of codes: every block of a mask is the nearest of a fixed set of edges."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class MaskCode(nn.Module):
    """A fixed code: a mask is cut into blocks, and each is empty, full, or split by a straight edge.

    Nothing is learnt and nothing depends on the data. A block has `cells` squared cells; its code is the edge that
    differs from it in the fewest cells. Masks are resized to blocks times cells on each side first.

    Args:
        blocks: Blocks on each side of a mask.
        cells: Cells on each side of a block.
        angles: Directions of edges, evenly around.
        offsets: Places of edges for each direction, evenly between the corners.

    Raises:
        ValueError: If a number is below 1.
    """

    patterns: Tensor

    def __init__(self, blocks: int = 8, cells: int = 8, angles: int = 16, offsets: int = 15) -> None:
        super().__init__()
        for name, count in {"blocks": blocks, "cells": cells, "angles": angles, "offsets": offsets}.items():
            if count < 1:
                raise ValueError(f"{name}={count}; a mask code needs 1 or more.")
        self.blocks = blocks
        self.cells = cells
        middle = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells * 2 - 1
        turn = torch.arange(angles, dtype=torch.float64) * (2 * math.pi / angles)
        along = turn.cos()[:, None, None] * middle + turn.sin()[:, None, None] * middle[:, None]
        reach = (turn.cos().abs() + turn.sin().abs()) * (1 - 1 / cells)  # the farthest middle of a cell
        share = (torch.arange(offsets, dtype=torch.float64) + 1) / (offsets + 1) * 2 - 1
        edges = along[:, None] > (reach[:, None] * share)[..., None, None]
        plain = torch.stack([torch.zeros(cells, cells), torch.ones(cells, cells)]).bool()
        every = torch.cat([plain, edges.flatten(0, 1)]).flatten(1)
        seen: dict[tuple[bool, ...], None] = dict.fromkeys(tuple(row) for row in every.tolist())
        self.register_buffer("patterns", torch.tensor(list(seen), dtype=torch.float32), persistent=False)

    def __len__(self) -> int:
        """Number of codes; 0 is the empty block, 1 the full one."""
        return len(self.patterns)

    @property
    def length(self) -> int:
        """Codes of one mask."""
        return self.blocks**2

    def encode(self, masks: Tensor) -> Tensor:
        """Codes (N, length), row by row over the blocks, of masks (N, H, W) of 0 and 1."""
        side = self.blocks * self.cells
        small = masks.float()[:, None]
        if masks.shape[-2:] != (side, side):
            small = F.interpolate(small, (side, side), mode="area" if min(masks.shape[-2:]) > side else "nearest-exact")
        cells = (small[:, 0] >= 0.5).float()
        parts = rearrange(cells, "n (r a) (c b) -> n (r c) (a b)", r=self.blocks, c=self.blocks)
        return self.nearest(parts)

    def nearest(self, cells: Tensor) -> Tensor:
        """The codes that differ in the fewest cells from cells (..., cells^2) of 0 and 1."""
        return (cells @ (2 * self.patterns - 1).T - self.patterns.sum(1)).argmax(-1)

    def nearest_overlap(self, chances: Tensor) -> Tensor:
        """Codes (N, length) of the masks that are expected to overlap best with the true ones.

        While a decoder is unsure of a block, each single edge is less likely than the empty block, though none may be
        right. So the probabilities of the codes become those of cells, and of the likeliest cells of a mask as many
        are taken as make the expected Dice coefficient largest, `2 sum(p taken) / (number taken + sum(p))`.

        Args:
            chances: Probabilities of the codes of each block, (N, length, codes).

        Source:
            Lipton, Elkan and Naryanaswamy, Optimal Thresholding of Classifiers to Maximize F1 Measure, 2014.
        """
        cells = chances @ self.patterns
        falling = cells.flatten(1).sort(1, descending=True).values
        count = torch.arange(1, falling.shape[1] + 1, device=falling.device)
        dice = 2 * falling.cumsum(1) / (count + falling.sum(1, keepdim=True))
        least = falling.gather(1, dice.argmax(1, keepdim=True))
        return self.nearest((cells >= least[..., None]).float())

    def decode(self, codes: Tensor, size: tuple[int, int]) -> Tensor:
        """Masks, bool (N, *size), of codes (N, length)."""
        cells = rearrange(
            self.patterns[codes], "n (r c) (a b) -> n (r a) (c b)", r=self.blocks, c=self.blocks, a=self.cells
        )
        if cells.shape[-2:] != size:
            cells = F.interpolate(cells[:, None], size, mode="bilinear", align_corners=False)[:, 0]
        return cells >= 0.5
