# SPDX-License-Identifier: Apache-2.0
"""Captions word by word, one per step."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.nn.decoder_layer import Cache, DecoderLayer
from avkit.nn.padding import surely_all
from avkit.nn.repetition import SentenceWriter, repeating_words
from avkit.text.tokenizer import END, PAD, START


class CaptionDecoder(SentenceWriter):
    """Autoregressive Transformer decoder over the visual and audio tokens of one step.

    The words that the caption mentions are predicted first, all at once: a word is mentioned unless neither the step as
    a whole nor any region supports it (a noisy OR). The log-odds of these mentions are added to the logits of every
    word, so the decoder is left with their order. Mentions have a loss of their own, see
    `avkit.nn.losses.mentions_loss`, by which names of objects are learned much sooner than by the decoder alone.

    Args:
        width: Width D of the tokens.
        words: Size of the vocabulary; the first indices are those of `avkit.text.tokenizer`.
        layers: Decoder layers.
        heads: Attention heads.
        max_words: Longest caption in words, end included.
        dropout: Dropout rate in training.

    Source:
        SSUFormer's text decoder, plain form.
    """

    def __init__(
        self, width: int, words: int, layers: int = 2, heads: int = 4, max_words: int = 40, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.max_words = max_words
        self.embed = nn.Embedding(words, width)
        self.position = nn.Parameter(torch.randn(max_words + 1, width) * 0.5)
        self.kind = nn.Parameter(torch.randn(3, width) * 0.5)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, dropout=dropout) for _ in range(layers))
        self.topic = nn.Linear(2 * width, width)
        self.whole = mention_classifier(2 * width, words)
        self.each = mention_classifier(2 * width, words)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, words)

    def memory(self, tokens: Tokens, regions: Tensor | None = None) -> Tensor:
        """Tokens that the caption of a step attends to, (B T, M, D): sound, frame, regions if given, patches.

        Regions are (B, T, R, D), the most important first. The sound is the step's own where tokens have it: that of
        the backbone tells which classes sound, and hardly how.
        """
        sound = tokens.audio if tokens.own_sound is None else tokens.own_sound
        parts = [sound[:, :, None] + self.kind[0], tokens.frame[:, :, None] + self.kind[1]]
        if regions is not None:
            parts.append(regions + self.kind[2])
        return rearrange(torch.cat([*parts, tokens.patches], dim=2), "b t m d -> (b t) m d")

    def forward(self, memory: Tensor, words: Tensor, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predict the next words.

        Args:
            memory: Tokens that are attended to, (N, M, D).
            words: Words so far, int64 (N, L).
            present: How present each of the memory's regions is, (N, R) in [0, 1]; None where it has none.

        Returns:
            Logits of the word after each of `words`, (N, L, words), and of each word's being mentioned in the caption
            at all, (N, words).
        """
        topic, mentions = self._mentions(memory, present)
        x = self.embed(words) + self.position[: words.shape[1]] + topic
        for layer in self.layers:
            x = layer(x, memory, causal=True)
        return self._logits(x, mentions), mentions[:, 0]

    @torch.no_grad()
    def generate(
        self, memory: Tensor, present: Tensor | None = None, max_words: int | None = None, cache: bool = True
    ) -> Tensor:
        """Write the likeliest words one by one, until every row has ended.

        Args:
            memory: (N, M, D).
            present: How present each of the memory's regions is, (N, R) in [0, 1]; None where it has none.
            max_words: Longest caption in words, end included; the head's own limit where None.
            cache: Keep keys and values of earlier words; the same words are written without, but more slowly.

        Returns:
            int64 (N, L), each row ended by the end word and then padded, unless it reached `max_words`.
        """
        limit = min(max_words or self.max_words, self.max_words)
        words = torch.full((len(memory), 1), START, device=memory.device)
        topic, mentions = self._mentions(memory, present)
        caches: list[Cache | None] = [Cache() if cache else None for _ in self.layers]
        ended = torch.zeros(len(memory), dtype=torch.bool, device=memory.device)
        for turn in range(limit):
            x = self.embed(words[:, turn:] if cache else words)
            x = x + (self.position[turn] if cache else self.position[: turn + 1]) + topic
            for layer, kept in zip(self.layers, caches, strict=True):
                x = layer(x, memory, causal=not cache, cache=kept)
            logits = self._logits(x[:, -1:], mentions)[:, 0]
            if not self.repeats:
                logits = logits.masked_fill(repeating_words(words[:, 1:], logits.shape[1]), -torch.inf)
            best = logits.argmax(-1).masked_fill(ended, PAD)
            words = torch.cat([words, best[:, None]], dim=1)
            ended |= best == END
            if surely_all(ended):
                break
        return words[:, 1:]

    def _mentions(self, memory: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
        """A topic vector that is added to every word, (N, 1, D), and logits of each word's mention, (N, 1, words)."""
        whole = memory[:, :2].flatten(1)
        support = F.softplus(self.whole(whole))
        if present is not None:
            regions = memory[:, 2 : 2 + present.shape[1]]
            with_audio = torch.cat([regions, memory[:, :1].expand_as(regions)], dim=-1)
            support = support + (present[..., None] * F.softplus(self.each(with_audio))).sum(1)
        return self.topic(whole)[:, None], mention_logits(support)[:, None]

    def _logits(self, x: Tensor, mentions: Tensor) -> Tensor:
        return self.out(self.norm(x)) + mentions


def mention_logits(support: Tensor) -> Tensor:
    """Log-odds that a word is mentioned, from minus the logarithm of the probability that it is not."""
    return support + torch.log(-torch.expm1(-support.clamp(min=1e-6)))


def mention_classifier(inputs: int, words: int) -> nn.Sequential:
    """Logits of words, low at the start of training, since a caption has few of all words."""
    last = nn.Linear(inputs, words)
    nn.init.constant_(last.bias, -4.0)
    return nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, inputs), nn.GELU(), last)
