# SPDX-License-Identifier: Apache-2.0
"""A sentence for every step, word by word."""

import torch
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.heads.layers import Cache, DecoderLayer
from avkit.words import END, PAD, START


class CaptionHead(nn.Module):
    """Autoregressive Transformer decoder over the picture and the sound of one step.

    Args:
        width: Width D of the tokens.
        words: Size of the vocabulary; the first indices are those of `avkit.words`.
        layers: Decoder layers.
        heads: Attention heads.
        most: Longest caption in words, end included.
        dropout: In training.

    Source:
        SSUFormer's text decoder, plain form.
    """

    def __init__(
        self, width: int, words: int, layers: int = 2, heads: int = 4, most: int = 40, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.most = most
        self.embed = nn.Embedding(words, width)
        self.position = nn.Parameter(torch.randn(most + 1, width) * 0.02)
        self.kind = nn.Parameter(torch.randn(3, width) * 0.02)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.embed.weight, std=width**-0.5)

    def memory(self, tokens: Tokens, regions: Tensor | None = None) -> Tensor:
        """What a caption may look at, one row per step: sound, picture, region if given, patches; (B T, M, D)."""
        parts = [tokens.audio[:, :, None] + self.kind[0], tokens.frame[:, :, None] + self.kind[1]]
        if regions is not None:
            parts.append(regions + self.kind[2])
        return rearrange(torch.cat([*parts, tokens.patches], dim=2), "b t m d -> (b t) m d")

    def forward(self, memory: Tensor, words: Tensor) -> Tensor:
        """Logits (N, L, words) of the word after each of `words` (N, L), for memory (N, M, D)."""
        x = self.embed(words) + self.position[: words.shape[1]]
        for layer in self.layers:
            x = layer(x, memory, causal=True)
        return self._logits(x)

    @torch.no_grad()
    def generate(self, memory: Tensor, most: int | None = None, cache: bool = True) -> Tensor:
        """The likeliest word at each turn, until every row has ended.

        Args:
            memory: (N, M, D).
            most: Longest caption in words, end included; the head's own limit where None.
            cache: Keep keys and values of earlier words; without it the same words come, more slowly.

        Returns:
            int64 (N, L), each row ended by the end word and then padded, unless it ran into `most`.
        """
        limit = min(most or self.most, self.most)
        words = torch.full((len(memory), 1), START, device=memory.device)
        caches = [Cache() for _ in self.layers] if cache else [None] * len(self.layers)
        ended = torch.zeros(len(memory), dtype=torch.bool, device=memory.device)
        for turn in range(limit):
            x = self.embed(words[:, turn:] if cache else words)
            x = x + (self.position[turn] if cache else self.position[: turn + 1])
            for layer, kept in zip(self.layers, caches, strict=True):
                x = layer(x, memory, causal=not cache, cache=kept)
            best = self._logits(x[:, -1]).argmax(-1).masked_fill(ended, PAD)
            words = torch.cat([words, best[:, None]], dim=1)
            ended |= best == END
            if ended.all():
                break
        return words[:, 1:]

    def _logits(self, x: Tensor) -> Tensor:
        return self.norm(x) @ self.embed.weight.T
