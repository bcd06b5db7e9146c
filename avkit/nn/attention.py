# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention, whole and in windows, on torch's fused kernel."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention with separate query and context.

    Args:
        width: Width D of query, context and result.
        heads: Number of heads; must divide `width`.
        dropout: Share of attention weights dropped in training.
    """

    def __init__(self, width: int, heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}.")
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def project(self, query: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (N, h, L, d), keys and values (N, h, M, d)."""
        q = rearrange(self.query(query), "n l (h d) -> n h l d", h=self.heads)
        k, v = rearrange(self.key_value(context), "n m (two h d) -> two n h m d", two=2, h=self.heads)
        return q, k, v

    def forward(self, query: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from query (N, L, D) to context (N, M, D).

        Args:
            query: Who asks.
            context: Who answers.
            mask: bool broadcastable to (N, h, L, M), True where attention is allowed; each row needs one True.
        """
        q, k, v = self.project(query, context)
        x = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=self.dropout if self.training else 0.0)
        return self.out(rearrange(x, "n h l d -> n l (h d)"))


class WindowAttention(Attention):
    """Attention of each step to its neighbours in time: `reach` steps before, itself, `reach` steps after.

    Cost and memory grow linearly with T: the sequence is cut into blocks and each block sees itself and `reach` steps
    on both sides. A sequence of at most `block` steps is done in one piece. A learned bias per head and distance tells
    before from after; there is no absolute time, so a clip of any length and any part of it are treated alike.

    Args:
        width: Width D.
        heads: Number of heads.
        reach: Neighbours on each side, S / 2 for a window of S (AV-Unified, section III-B).
        dropout: Share of attention weights dropped in training.
        block: Steps per block.
    """

    def __init__(self, width: int, heads: int, reach: int, dropout: float = 0.0, block: int = 64) -> None:
        super().__init__(width, heads, dropout)
        self.reach, self.block = reach, max(block, reach)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * reach + 1))

    def forward(self, query: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from query (B, T, D) to context (B, T, D); `mask` is bool (B, T), False on padding."""
        steps = query.shape[1]
        valid = mask if mask is not None else query.new_ones(query.shape[:2], dtype=torch.bool)
        if steps <= self.block:
            return super().forward(query, context, self._mask(valid, valid, 0))
        return self._blocks(query, context, valid)

    def _blocks(self, query: Tensor, context: Tensor, valid: Tensor) -> Tensor:
        size, reach = self.block, self.reach
        batch, steps, _ = query.shape
        count = -(-steps // size)
        tail = count * size - steps
        q, k, v = self.project(query, context)
        q = rearrange(F.pad(q, (0, 0, 0, tail)), "b h (n s) d -> (b n) h s d", n=count)

        def around(x: Tensor) -> Tensor:
            """Each block with its neighbours: (B, h, T, d) to (B n, h, size + 2 reach, d)."""
            x = F.pad(x, (0, 0, reach, reach + tail)).unfold(2, size + 2 * reach, size)
            return rearrange(x, "b h n d m -> (b n) h m d")

        keys = F.pad(valid, (reach, reach + tail)).unfold(1, size + 2 * reach, size).flatten(0, 1)
        queries = F.pad(valid, (0, tail)).reshape(batch * count, size)
        allowed = self._mask(queries, keys, reach)
        drop = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(q, around(k), around(v), allowed, dropout_p=drop)
        return self.out(rearrange(x, "(b n) h s d -> b (n s) (h d)", b=batch)[:, :steps])

    def _mask(self, queries: Tensor, keys: Tensor, offset: int) -> Tensor:
        """What is added to the scores, (N, h, L, M): the bias of the distance, or minus infinity where none may look.

        A padded query sees itself, so that no row is empty.
        """
        places = torch.arange(keys.shape[1], device=keys.device) - offset
        distance = places - torch.arange(queries.shape[1], device=keys.device)[:, None]
        allowed = (distance.abs() <= self.reach) & keys[:, None] & queries[:, :, None] | (distance == 0)
        bias = self.bias[:, distance.clamp(-self.reach, self.reach) + self.reach]
        return bias.masked_fill(~allowed[:, None], -torch.inf)


class FeedForward(nn.Sequential):
    """Two linear layers with GELU between, `ratio` times as wide inside."""

    def __init__(self, width: int, ratio: int = 2, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Linear(width, ratio * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(ratio * width, width)
        )
