# SPDX-License-Identifier: Apache-2.0
"""Multi-scale deformable attention in plain torch: every query looks at a few learned places on every level."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Height and width of each level, in the order of the tokens.
Sizes = Sequence[tuple[int, int]]


class DeformableAttention(nn.Module):
    """Attention to `points` places per level and head, found by the query around where it stands.

    The value at a place is bilinear between cells and zero outside of the map; weights are a softmax over all places of
    all levels. Nothing is compiled: see `sample` and `gather`.

    Args:
        width: Width D.
        levels: Number of levels.
        heads: Number of heads.
        points: Places per level and head.

    Raises:
        ValueError: If the width is no multiple of the heads.

    Source:
        Deformable DETR (Zhu et al., ICLR 2021), Eq. 3, as vvvb-github/AVSegFormer runs it (commit 7083cb6586d1).
    """

    def __init__(self, width: int = 256, levels: int = 3, heads: int = 8, points: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width is {width}, which {heads} heads cannot share; give a multiple of {heads}.")
        self.levels, self.heads, self.points = levels, heads, points
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj, self.output_proj = nn.Linear(width, width), nn.Linear(width, width)
        self._start()

    def _start(self) -> None:
        """Begin with the places of head k in direction k, one more cell away each, and equal weights."""
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        turn = torch.arange(self.heads) * (2 * math.pi / self.heads)
        way = torch.stack([turn.cos(), turn.sin()], -1)
        way = way / way.abs().amax(-1, keepdim=True)
        far = torch.arange(1, self.points + 1)[:, None]
        with torch.no_grad():
            places = (way[:, None, None] * far).expand(-1, self.levels, -1, -1)
            self.sampling_offsets.bias.copy_(places.flatten())

    def forward(self, query: Tensor, places: Tensor, values: Tensor, sizes: Sizes) -> Tensor:
        """Look at the levels.

        Args:
            query: (N, L, D).
            places: Where each query stands, x and y in [0, 1], (L, 2).
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
        weights = weights.unflatten(-1, split[1:])
        values = self.value_proj(values).unflatten(-1, (self.heads, -1))
        look = gather if values.device.type == "cpu" and values.dtype == torch.float32 else sample
        out: Tensor = self.output_proj(look(values, offsets, weights.to(offsets.dtype), places, sizes).to(query.dtype))
        return out


def sample(values: Tensor, offsets: Tensor, weights: Tensor, places: Tensor, sizes: Sizes) -> Tensor:
    """Weighted sums of what lies at places around queries: one `grid_sample` per level, best on a GPU.

    Args:
        values: Cells of all levels one after the other, (N, S, heads, d).
        offsets: In cells of each level, x and y, (N, L, heads, levels, points, 2).
        weights: (N, L, heads, levels, points).
        places: Where each query stands, x and y in [0, 1], (L, 2).
        sizes: Height and width of each level.

    Returns:
        (N, L, heads d).
    """
    number, length = offsets.shape[:2]
    maps = values.permute(0, 2, 3, 1).flatten(0, 1).to(offsets.dtype)
    # grid_sample wants cells as (-1, 1)
    middle = 2 * places[None, :, None, None].to(offsets.dtype) - 1
    total: Tensor | int = 0
    for level, (part, (height, width)) in enumerate(zip(maps.split([h * w for h, w in sizes], -1), sizes, strict=True)):
        cell = offsets.new_tensor([2 / width, 2 / height])
        grid = (middle + offsets[:, :, :, level] * cell).transpose(1, 2).flatten(0, 1)  # (N heads, L, points, 2)
        found = F.grid_sample(part.unflatten(-1, (height, width)), grid, align_corners=False)
        share = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]
        total = total + (found * share).sum(-1)
    assert isinstance(total, Tensor)
    return total.view(number, -1, length).transpose(1, 2)


def gather(values: Tensor, offsets: Tensor, weights: Tensor, places: Tensor, sizes: Sizes) -> Tensor:
    """The same as `sample`, all levels in one weighted sum of rows: best on a CPU.

    A place is between four cells, whose shares multiply its weight. Around every level lie cells of zeros, so that a
    place outside needs no case of its own.
    """
    number, length, heads = offsets.shape[:3]
    edge = (1, 2)  # cells of zeros before and after
    parts, start, starts = [], 0, []
    for part, (height, width) in zip(values.flatten(2).split([h * w for h, w in sizes], 1), sizes, strict=True):
        parts.append(F.pad(part.unflatten(1, (height, width)), (0, 0, *edge, *edge)).flatten(1, 2))
        starts.append(start)
        start += (height + 3) * (width + 3)
    table = torch.cat(parts, 1).view(number * start * heads, -1)
    size = offsets.new_tensor([[w, h] for h, w in sizes])
    at = offsets + (places[:, None].to(offsets.dtype) * size - 0.5)[None, :, None, :, None]
    at = torch.minimum(at.clamp(min=-1), size[:, None])
    low = at.detach().floor()
    right, down = (at - low).unbind(-1)
    x, y = low.int().unbind(-1)
    row = size[:, :1].int() + 3
    first = (y + 1) * row + x + 1 + torch.tensor(starts, dtype=torch.int32)[:, None]
    clip = torch.arange(number, dtype=torch.int32).view(-1, 1, 1, 1, 1) * start
    first = (first + clip) * heads + torch.arange(heads, dtype=torch.int32)[:, None, None]
    step = heads * torch.stack([torch.zeros_like(row), torch.ones_like(row), row, row + 1], -1)
    upper, lower = weights * (1 - down), weights * down
    share = torch.stack([upper * (1 - right), upper * right, lower * (1 - right), lower * right], -1)
    bags = number * length * heads
    rows = (first[..., None] + step).view(bags, -1)
    found = F.embedding_bag(rows, table, mode="sum", per_sample_weights=share.view(bags, -1))
    return found.view(number, length, -1)


class DeformableLayer(nn.Module):
    """Post-norm layer: levels among themselves by deformable attention, then a feed-forward layer.

    Args:
        width: Width D.
        levels: Number of levels.
        heads: Attention heads.
        points: Places per level and head.
        inner: Width of the feed-forward layer.
        dropout: In training.
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
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, code: Tensor, places: Tensor, sizes: Sizes) -> Tensor:
        """From tokens (N, S, D) of all levels, codes of their places (S, D) and places (S, 2), to tokens."""
        x = self.norm1(x + self.drop(self.self_attn(x + code, places, x, sizes)))
        return self.norm2(x + self.drop(self.linear2(self.drop(F.gelu(self.linear1(x))))))


def cell_places(sizes: Sizes, device: torch.device | None = None) -> Tensor:
    """Middles of all cells of all levels, x and y in [0, 1], (S, 2)."""
    found = []
    for height, width in sizes:
        y, x = ((torch.arange(n, device=device) + 0.5) / n for n in (height, width))
        found.append(torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], -1).flatten(0, 1))
    return torch.cat(found)


def cell_codes(sizes: Sizes, width: int, device: torch.device | None = None) -> list[Tensor]:
    """Sinusoids over the row, then the column of each cell, counted from 1 and not scaled; per level (h w, D)."""
    half = width // 2
    rate = 10_000 ** (-2 * (torch.arange(half, device=device) // 2) / half)

    def code(count: int) -> Tensor:
        angle = torch.arange(1, count + 1, device=device)[:, None] * rate
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], -1).flatten(1)

    return [
        torch.cat([code(h)[:, None].expand(-1, w, -1), code(w).expand(h, -1, -1)], -1).flatten(0, 1) for h, w in sizes
    ]
