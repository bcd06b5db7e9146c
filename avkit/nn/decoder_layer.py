# SPDX-License-Identifier: Apache-2.0
"""The decoder layer that heads share, with a cache of keys and values for step-by-step decoding."""

from dataclasses import dataclass, field

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


@dataclass
class Cache:
    """Keys and values of one decoder layer: of the words so far, and of the memory, which stays the same.

    Attributes:
        own: Keys and values of the words, with room for more.
        memory: Keys and values of the memory.
        length: Number of words in `own`.
    """

    own: tuple[Tensor, Tensor] | None = field(default=None)
    memory: tuple[Tensor, Tensor] | None = field(default=None)
    length: int = 0

    def grow(self, keys: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Append keys and values (N, h, L, d) of new words, and return those of all words so far."""
        start = self.length
        self.length = start + keys[0].shape[2]
        if self.own is None or self.own[0].shape[2] < self.length:
            room = [k.new_empty((*k.shape[:2], max(16, 2 * self.length), k.shape[3])) for k in keys]
            for old, new in zip(self.own or (), room, strict=False):
                new[:, :, :start] = old[:, :, :start]
            self.own = (room[0], room[1])
        for cached, new in zip(self.own, keys, strict=True):
            cached[:, :, start : self.length] = new
        return self.own[0][:, :, : self.length], self.own[1][:, :, : self.length]

    def reorder(self, rows: Tensor) -> None:
        """Continue with the words of the given rows, int64 (N,), such as those that beam search keeps."""
        if self.own is not None:
            self.own = (self.own[0][rows], self.own[1][rows])


class CachedAttention(nn.Module):
    """Multi-head attention with keys and values that are computed apart, so that they can be cached.

    Args:
        width: Width D.
        heads: Number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def keys(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (N, h, M, d) of a context (N, M, D)."""
        k, v = rearrange(self.key_value(context), "n m (two h d) -> two n h m d", two=2, h=self.heads)
        return k, v

    def forward(
        self, query: Tensor, keys: tuple[Tensor, Tensor], mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Attend from a query (N, L, D) to keys and values.

        `mask` is True where attention is allowed, or is what is added to the scores.
        """
        q = rearrange(self.query(query), "n l (h d) -> n h l d", h=self.heads)
        if mask is not None and mask.is_floating_point():
            mask = mask.to(q.dtype)
        x = F.scaled_dot_product_attention(q, *keys, attn_mask=mask, is_causal=causal)
        return self.out(rearrange(x, "n h l d -> n l (h d)"))


class DecoderLayer(nn.Module):
    """Pre-norm Transformer decoder layer: self-attention, attention to a memory, feed-forward.

    Args:
        width: Width D.
        heads: Number of heads.
        ratio: Width of the feed-forward layer over D.
        dropout: Dropout rate of the output of each of the three parts in training.
    """

    def __init__(self, width: int, heads: int = 4, ratio: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(width)
        self.norm_memory = nn.LayerNorm(width)
        self.norm_out = nn.LayerNorm(width)
        self.own = CachedAttention(width, heads)
        self.memory = CachedAttention(width, heads)
        self.feed_forward = nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | None = None,
        own_mask: Tensor | None = None,
        causal: bool = False,
        cache: Cache | None = None,
    ) -> Tensor:
        """Run the layer.

        Args:
            x: Features of the words, (N, L, D); with a cache only of the new ones.
            memory: (N, M, D).
            mask: bool (N, 1, 1, M), True on the memory's valid tokens, or what is added to the scores of attention.
            own_mask: bool (N, 1, 1, L), True on the valid tokens of x itself.
            causal: Whether a word attends to earlier words alone; with a cache there are no others.
            cache: Keys and values of earlier words and of the memory; updated in place.

        Returns:
            (N, L, D).
        """
        normed = self.norm_self(x)
        keys = self.own.keys(normed)
        if cache is not None:
            keys = cache.grow(keys)
            cache.memory = cache.memory or self.memory.keys(memory)
        x = x + self.drop(self.own(normed, keys, own_mask, causal=causal and cache is None))
        memory_keys = self.memory.keys(memory) if cache is None or cache.memory is None else cache.memory
        x = x + self.drop(self.memory(self.norm_memory(x), memory_keys, mask))
        return x + self.drop(self.feed_forward(self.norm_out(x)))


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two linear layers with GELU between."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))
