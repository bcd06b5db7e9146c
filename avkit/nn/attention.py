# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention, over all positions and in windows, on torch's fused kernel."""

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

    Raises:
        ValueError: If `heads` does not divide `width`.
    """

    def __init__(self, width: int, heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}.")
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def project(self, query: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (N, h, L, d), keys and values (N, h, M, d)."""
        q = rearrange(self.query(query), "n l (h d) -> n h l d", h=self.heads)
        k, v = rearrange(self.key_value(context), "n m (two h d) -> two n h m d", two=2, h=self.heads)
        return q, k, v

    @property
    def active_dropout(self) -> float:
        """Share of attention weights dropped now: none outside of training."""
        return self.dropout if self.training else 0.0

    def attend_all(self, query: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from query (N, L, D) to all of context (N, M, D).

        Args:
            query: Tokens that attend.
            context: Tokens that are attended to.
            mask: bool or additive, broadcastable to (N, h, L, M); where bool, True allows attention, and each row needs
                one True.
        """
        q, k, v = self.project(query, context)
        x = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=self.active_dropout)
        return self.out(rearrange(x, "n h l d -> n l (h d)"))

    def forward(self, query: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """The same as `attend_all`."""
        return self.attend_all(query, context, mask)


class WindowAttention(Attention):
    """Attention of each step to its temporal neighbours: `radius` steps before, itself, `radius` steps after.

    Cost and memory grow linearly with T: the sequence is cut into blocks, and each block attends to itself and `radius`
    steps on both sides. A sequence of at most `block` steps is one block. A learned bias per head and distance
    distinguishes before from after; there is no absolute time, so that clips of any length and parts of them are
    treated alike.

    Args:
        width: Width D.
        heads: Number of heads.
        radius: Neighbours on each side, S / 2 for a window of S (AV-Unified, section III-B).
        dropout: Share of attention weights dropped in training.
        block: Steps per block.
    """

    def __init__(self, width: int, heads: int, radius: int, dropout: float = 0.0, block: int = 64) -> None:
        super().__init__(width, heads, dropout)
        self.radius = radius
        self.block = max(block, radius)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * radius + 1))

    def forward(self, query: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from query (B, T, D) to context (B, T, D); `mask` is bool (B, T), False on padding."""
        valid = query.new_ones(query.shape[:2], dtype=torch.bool) if mask is None else mask
        if query.shape[1] <= self.block:
            return self.attend_all(query, context, self._mask(valid, valid, 0))
        return self._attend_blocks(query, context, valid)

    def _attend_blocks(self, query: Tensor, context: Tensor, valid: Tensor) -> Tensor:
        size = self.block
        batch, steps, _ = query.shape
        count = -(-steps // size)
        tail = count * size - steps
        q, k, v = self.project(query, context)
        q = rearrange(F.pad(q, (0, 0, 0, tail)), "b h (n s) d -> (b n) h s d", n=count)
        k = self._unfold(k, tail)
        v = self._unfold(v, tail)
        padded = F.pad(valid, (self.radius, self.radius + tail))
        valid_keys = padded.unfold(1, size + 2 * self.radius, size).flatten(0, 1)
        valid_queries = F.pad(valid, (0, tail)).reshape(batch * count, size)
        mask = self._mask(valid_queries, valid_keys, self.radius)
        x = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=self.active_dropout)
        return self.out(rearrange(x, "(b n) h s d -> b (n s) (h d)", b=batch)[:, :steps])

    def _unfold(self, x: Tensor, tail: int) -> Tensor:
        """Each block with its neighbours: (B, h, T, d) to (B n, h, block + 2 radius, d)."""
        x = F.pad(x, (0, 0, self.radius, self.radius + tail))
        x = x.unfold(2, self.block + 2 * self.radius, self.block)
        return rearrange(x, "b h n d m -> (b n) h m d")

    def _mask(self, queries: Tensor, keys: Tensor, offset: int) -> Tensor:
        """Additive mask (N, h, L, M): the bias of the distance, minus infinity where attention is not allowed.

        A padded query attends to itself, so that no row is empty.
        """
        positions = torch.arange(keys.shape[1], device=keys.device) - offset
        distance = positions - torch.arange(queries.shape[1], device=keys.device)[:, None]
        near = distance.abs() <= self.radius
        allowed = near & keys[:, None] & queries[:, :, None] | (distance == 0)
        bias = self.bias[:, distance.clamp(-self.radius, self.radius) + self.radius]
        return bias.masked_fill(~allowed[:, None], -torch.inf)


class FeedForward(nn.Sequential):
    """Two linear layers with GELU between, `ratio` times as wide inside."""

    def __init__(self, width: int, ratio: int = 2, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Linear(width, ratio * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(ratio * width, width)
        )
