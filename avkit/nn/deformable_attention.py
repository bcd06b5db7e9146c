# SPDX-License-Identifier: Apache-2.0
"""Multi-scale deformable attention in plain torch: every query reads a few learned positions on every level."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Height and width of each level, in the order of the tokens.
Sizes = Sequence[tuple[int, int]]


class DeformableAttention(nn.Module):
    """Attention to `points` positions per level and head, whose offsets from a reference point the query predicts.

    The value at a position is bilinear between cells and zero outside of the map; weights are a softmax over all
    positions of all levels. Nothing is compiled: see `sample_with_grid_sample` and `sample_with_gather`.

    Args:
        width: Width D.
        levels: Number of levels.
        heads: Number of heads.
        points: Positions per level and head.

    Raises:
        ValueError: If the width is no multiple of the heads.

    Source:
        Deformable DETR (Zhu et al., ICLR 2021), Eq. 3, as vvvb-github/AVSegFormer runs it (commit 7083cb6586d1).
    """

    def __init__(self, width: int = 256, levels: int = 3, heads: int = 8, points: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width is {width}, which {heads} heads cannot share; give a multiple of {heads}.")
        self.levels = levels
        self.heads = heads
        self.points = points
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        self._initialize()

    def _initialize(self) -> None:
        """Begin with equal weights, and with the points of head k in direction k, each one cell farther away."""
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        direction = torch.stack([angle.cos(), angle.sin()], -1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        cells = torch.arange(1, self.points + 1)[:, None]
        offsets = (direction[:, None, None] * cells).expand(-1, self.levels, -1, -1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.flatten())

    def forward(self, query: Tensor, reference_points: Tensor, values: Tensor, sizes: Sizes) -> Tensor:
        """Read the levels.

        Args:
            query: (N, L, D).
            reference_points: Position of each query, x and y in [0, 1], (L, 2).
            values: All cells of all levels one after the other, row by row, (N, S, D).
            sizes: Height and width of each level.

        Returns:
            (N, L, D).

        Raises:
            ValueError: If the levels are another number than the module's, or do not have S cells.
        """
        if len(sizes) != self.levels or sum(h * w for h, w in sizes) != values.shape[1]:
            raise ValueError(
                f"Values have {values.shape[1]} cells, sizes {list(sizes)}; this attention takes {self.levels} levels "
                "whose cells add up to that."
            )
        split = (self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).float().unflatten(-1, (*split, 2))  # half precision misses cells
        weights = self.attention_weights(query).unflatten(-1, (self.heads, -1)).softmax(-1)
        weights = weights.unflatten(-1, split[1:]).to(offsets.dtype)
        values = self.value_proj(values).unflatten(-1, (self.heads, -1))
        if values.device.type == "cpu" and values.dtype == torch.float32:
            attended = sample_with_gather(values, offsets, weights, reference_points, sizes)
        else:
            attended = sample_with_grid_sample(values, offsets, weights, reference_points, sizes)
        out: Tensor = self.output_proj(attended.to(query.dtype))
        return out


def sample_with_grid_sample(
    values: Tensor, offsets: Tensor, weights: Tensor, reference_points: Tensor, sizes: Sizes
) -> Tensor:
    """Weighted sums of the values at offsets from reference points: one `grid_sample` per level, best on a GPU.

    Args:
        values: Cells of all levels one after the other, (N, S, heads, d).
        offsets: In cells of each level, x and y, (N, L, heads, levels, points, 2).
        weights: (N, L, heads, levels, points).
        reference_points: Position of each query, x and y in [0, 1], (L, 2).
        sizes: Height and width of each level.

    Returns:
        (N, L, heads d).
    """
    number, length = offsets.shape[:2]
    maps = values.permute(0, 2, 3, 1).flatten(0, 1).to(offsets.dtype)
    cells = [height * width for height, width in sizes]
    # grid_sample takes positions in (-1, 1)
    middle = 2 * reference_points[None, :, None, None].to(offsets.dtype) - 1
    total = maps.new_zeros(())
    for level, (flat_map, (height, width)) in enumerate(zip(maps.split(cells, -1), sizes, strict=True)):
        cell = offsets.new_tensor([2 / width, 2 / height])
        grid = (middle + offsets[:, :, :, level] * cell).transpose(1, 2).flatten(0, 1)  # (N heads, L, points, 2)
        samples = F.grid_sample(flat_map.unflatten(-1, (height, width)), grid, align_corners=False)
        share = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]
        total = total + (samples * share).sum(-1)
    return total.view(number, -1, length).transpose(1, 2)


def sample_with_gather(
    values: Tensor, offsets: Tensor, weights: Tensor, reference_points: Tensor, sizes: Sizes
) -> Tensor:
    """The same as `sample_with_grid_sample`, as one weighted sum of rows for all levels: best on a CPU.

    A position lies between four cells, whose shares multiply its weight. Every level is padded with cells of zeros, so
    that a position outside needs no case of its own.
    """
    number, length, heads = offsets.shape[:3]
    padding = (1, 2)  # cells of zeros before and after
    padded_maps = []
    starts = []
    start = 0
    cells = [height * width for height, width in sizes]
    for flat_map, (height, width) in zip(values.flatten(2).split(cells, 1), sizes, strict=True):
        padded = F.pad(flat_map.unflatten(1, (height, width)), (0, 0, *padding, *padding))
        padded_maps.append(padded.flatten(1, 2))
        starts.append(start)
        start += (height + 3) * (width + 3)
    table = torch.cat(padded_maps, 1).view(number * start * heads, -1)
    size = offsets.new_tensor([[width, height] for height, width in sizes])
    position = offsets + (reference_points[:, None].to(offsets.dtype) * size - 0.5)[None, :, None, :, None]
    position = torch.minimum(position.clamp(min=-1), size[:, None])
    low = position.detach().floor()
    right, down = (position - low).unbind(-1)
    x, y = low.int().unbind(-1)
    row = size[:, :1].int() + 3
    first = (y + 1) * row + x + 1 + torch.tensor(starts, dtype=torch.int32)[:, None]
    clip = torch.arange(number, dtype=torch.int32).view(-1, 1, 1, 1, 1) * start
    first = (first + clip) * heads + torch.arange(heads, dtype=torch.int32)[:, None, None]
    step = heads * torch.stack([torch.zeros_like(row), torch.ones_like(row), row, row + 1], -1)
    upper = weights * (1 - down)
    lower = weights * down
    share = torch.stack([upper * (1 - right), upper * right, lower * (1 - right), lower * right], -1)
    bags = number * length * heads
    rows = (first[..., None] + step).view(bags, -1)
    sums = F.embedding_bag(rows, table, mode="sum", per_sample_weights=share.view(bags, -1))
    return sums.view(number, length, -1)


class DeformableLayer(nn.Module):
    """Post-norm layer: deformable attention among the levels, then a feed-forward layer.

    Args:
        width: Width D.
        levels: Number of levels.
        heads: Attention heads.
        points: Positions per level and head.
        inner: Width of the feed-forward layer.
        dropout: Dropout rate in training.
    """

    def __init__(
        self,
        width: int = 256,
        levels: int = 3,
        heads: int = 8,
        points: int = 4,
        inner: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(width, levels, heads, points)
        self.linear1 = nn.Linear(width, inner)
        self.linear2 = nn.Linear(inner, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, codes: Tensor, centers: Tensor, sizes: Sizes) -> Tensor:
        """From tokens (N, S, D) of all levels, codes of their positions (S, D) and cell centers (S, 2), to tokens."""
        x = self.norm1(x + self.drop(self.self_attn(x + codes, centers, x, sizes)))
        return self.norm2(x + self.drop(self.linear2(self.drop(F.gelu(self.linear1(x))))))


def cell_centers(sizes: Sizes, device: torch.device | None = None) -> Tensor:
    """Centers of all cells of all levels, x and y in [0, 1], (S, 2)."""
    centers = []
    for height, width in sizes:
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        level = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], -1)
        centers.append(level.flatten(0, 1))
    return torch.cat(centers)


def cell_codes(sizes: Sizes, width: int, device: torch.device | None = None) -> list[Tensor]:
    """Sinusoids over the row, then the column of each cell, counted from 1 and not scaled; per level (h w, D)."""
    half = width // 2
    rate = 10_000 ** (-2 * (torch.arange(half, device=device) // 2) / half)

    def line_codes(count: int) -> Tensor:
        angle = torch.arange(1, count + 1, device=device)[:, None] * rate
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], -1).flatten(1)

    codes = []
    for rows, columns in sizes:
        row_codes = line_codes(rows)[:, None].expand(-1, columns, -1)
        column_codes = line_codes(columns).expand(rows, -1, -1)
        codes.append(torch.cat([row_codes, column_codes], -1).flatten(0, 1))
    return codes
