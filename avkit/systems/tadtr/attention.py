# SPDX-License-Identifier: Apache-2.0
"""Temporal deformable attention: every query reads a few learned moments around its own."""

import torch
from torch import Tensor, nn


class TemporalDeformableAttention(nn.Module):
    """Attention to `points` moments per head, whose offsets from a reference the query predicts (Eq. 1 of the paper).

    Args:
        width: Width D.
        heads: Number of heads.
        points: Moments per head.

    Raises:
        ValueError: If the heads do not divide the width.
    """

    def __init__(self, width: int, heads: int, points: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width is {width}, which {heads} heads cannot share; give a multiple of {heads}.")
        self.heads = heads
        self.points = points
        self.offsets = nn.Linear(width, heads * points)
        self.weights = nn.Linear(width, heads * points)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self._initialize()

    def _initialize(self) -> None:
        """Begin with equal weights, and with the moments of a head one step after the other, to either side."""
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)
        side = 1 - 2 * (torch.arange(self.heads) % 2)
        steps = torch.arange(1, self.points + 1)
        with torch.no_grad():
            self.offsets.bias.copy_((side[:, None] * steps).flatten().float())

    def forward(self, query: Tensor, centre: Tensor, unit: Tensor, values: Tensor, lengths: Tensor) -> Tensor:
        """Read the values.

        Args:
            query: (B, L, D).
            centre: Where offset 0 lies, a share of the video, (B, L).
            unit: Length of an offset of 1, a share of the video, (B, L).
            values: A row per step, 0 where padded, (B, T, D).
            lengths: Valid steps of each video, (B,).

        Returns:
            (B, L, D).
        """
        offsets = self.offsets(query).unflatten(-1, (self.heads, self.points))
        weights = self.weights(query).unflatten(-1, (self.heads, self.points)).softmax(-1)
        place = centre[..., None, None] + offsets * unit[..., None, None]  # (B, L, heads, points)
        rows = self.value(values).unflatten(-1, (self.heads, -1))
        sampled = sample(rows, place * lengths[:, None, None, None] - 0.5, lengths)
        attended: Tensor = self.out((sampled * weights[..., None]).sum(-2).flatten(-2))
        return attended


def sample(rows: Tensor, place: Tensor, lengths: Tensor) -> Tensor:
    """Values between steps by linear interpolation, 0 outside of the valid steps.

    Args:
        rows: (B, T, heads, d).
        place: Positions in steps, 0 the middle of the first, (B, L, heads, P).
        lengths: Valid steps of each video, (B,).

    Returns:
        (B, L, heads, P, d).
    """
    before = place.detach().floor()
    share = place - before
    left = _take(rows, before.long(), lengths)
    right = _take(rows, before.long() + 1, lengths)
    return left + (right - left) * share[..., None]


def _take(rows: Tensor, step: Tensor, lengths: Tensor) -> Tensor:
    """Rows (B, T, heads, d) of steps (B, L, heads, P), 0 where there is none."""
    inside = (step >= 0) & (step < lengths[:, None, None, None])
    index = step.clamp(0, rows.shape[1] - 1)
    videos, queries, heads, points = index.shape
    flat = index.permute(0, 1, 3, 2).reshape(videos, queries * points, heads, 1)
    taken = rows.gather(1, flat.expand(-1, -1, -1, rows.shape[-1]))
    taken = taken.unflatten(1, (queries, points)).transpose(2, 3)
    return taken * inside[..., None]
