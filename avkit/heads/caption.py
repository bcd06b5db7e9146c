# SPDX-License-Identifier: Apache-2.0
"""A sentence for every step, word by word."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.nn.decoder_layer import Cache, DecoderLayer
from avkit.text.tokenizer import END, PAD, START


class CaptionDecoder(nn.Module):
    """Autoregressive Transformer decoder over the picture and the sound of one step.

    Which words the caption will have is guessed at once: a word is in it unless neither the picture and sound as a
    whole nor any region calls for it (noisy or). The guess's log-odds add to the logits of every word, so that the
    decoder is left with their order. The guess has a loss of its own, see `avkit.nn.losses.mentions_loss`, and learns
    what things are called long before the decoder would.

    Args:
        width: Width D of the tokens.
        words: Size of the vocabulary; the first indices are those of `avkit.text.tokenizer`.
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
        self.position = nn.Parameter(torch.randn(most + 1, width) * 0.5)
        self.kind = nn.Parameter(torch.randn(3, width) * 0.5)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, dropout=dropout) for _ in range(layers))
        self.topic = nn.Linear(2 * width, width)
        self.whole, self.each = (_guesser(2 * width, words) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, words)

    def memory(self, tokens: Tokens, regions: Tensor | None = None) -> Tensor:
        """What a caption may look at, one row per step: sound, picture, regions if given, patches; (B T, M, D).

        Regions are (B, T, R, D), the one that matters most first.
        """
        parts = [tokens.audio[:, :, None] + self.kind[0], tokens.frame[:, :, None] + self.kind[1]]
        if regions is not None:
            parts.append(regions + self.kind[2])
        return rearrange(torch.cat([*parts, tokens.patches], dim=2), "b t m d -> (b t) m d")

    def forward(self, memory: Tensor, words: Tensor, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What comes after each of `words` (N, L), for memory (N, M, D) whose R regions are present by (N, R).

        Returns:
            Logits of the next word, (N, L, words), and of each word's being in the caption at all, (N, words).
        """
        topic, mentions = self._guess(memory, present)
        x = self.embed(words) + self.position[: words.shape[1]] + topic
        for layer in self.layers:
            x = layer(x, memory, causal=True)
        return self._logits(x, mentions), mentions[:, 0]

    @torch.no_grad()
    def generate(
        self, memory: Tensor, present: Tensor | None = None, most: int | None = None, cache: bool = True
    ) -> Tensor:
        """The likeliest word at each turn, until every row has ended.

        Args:
            memory: (N, M, D).
            present: How present each of the memory's regions is, (N, R) in [0, 1]; None where it has none.
            most: Longest caption in words, end included; the head's own limit where None.
            cache: Keep keys and values of earlier words; without it the same words come, more slowly.

        Returns:
            int64 (N, L), each row ended by the end word and then padded, unless it ran into `most`.
        """
        limit = min(most or self.most, self.most)
        words = torch.full((len(memory), 1), START, device=memory.device)
        topic, mentions = self._guess(memory, present)
        caches = [Cache() for _ in self.layers] if cache else [None] * len(self.layers)
        ended = torch.zeros(len(memory), dtype=torch.bool, device=memory.device)
        for turn in range(limit):
            x = self.embed(words[:, turn:] if cache else words)
            x = x + (self.position[turn] if cache else self.position[: turn + 1]) + topic
            for layer, kept in zip(self.layers, caches, strict=True):
                x = layer(x, memory, causal=not cache, cache=kept)
            best = self._logits(x[:, -1:], mentions)[:, 0].argmax(-1).masked_fill(ended, PAD)
            words = torch.cat([words, best[:, None]], dim=1)
            ended |= best == END
            if ended.all():
                break
        return words[:, 1:]

    def _guess(self, memory: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
        """What every word is told directly, (N, 1, D), and which words are to be expected, logits (N, 1, words)."""
        whole = memory[:, :2].flatten(1)
        doubt = F.softplus(self.whole(whole))  # minus the logarithm of the chance that nothing calls for the word
        if present is not None:
            regions = memory[:, 2 : 2 + present.shape[1]]
            told = torch.cat([regions, memory[:, :1].expand_as(regions)], dim=-1)
            doubt = doubt + (present[..., None] * F.softplus(self.each(told))).sum(1)
        mentions = doubt + torch.log(-torch.expm1(-doubt.clamp(min=1e-6)))
        return self.topic(whole)[:, None], mentions[:, None]

    def _logits(self, x: Tensor, mentions: Tensor) -> Tensor:
        return self.out(self.norm(x)) + mentions


def _guesser(inputs: int, words: int) -> nn.Sequential:
    """Logits of words, low to begin with, as a caption has few of all words."""
    last = nn.Linear(inputs, words)
    nn.init.constant_(last.bias, -4.0)
    return nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, inputs), nn.GELU(), last)
