# SPDX-License-Identifier: Apache-2.0
"""An autoregressive Transformer that writes sentences: greedy or with several beams, and a cache of keys and values."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.nn.decoder_layer import Cache, DecoderLayer

#: Changes states (N, L, D) of the rows with the given numbers (N,) before words are read off them.
Finish = Callable[[Tensor, Tensor], Tensor]


class TextDecoder(nn.Module):
    """Pre-norm decoder with learned positions; the vocabulary's layer is the embedding itself.

    Args:
        words: Size of the vocabulary.
        width: Width D, of the memory too.
        layers: Decoder layers.
        heads: Attention heads.
        ratio: Width of the feed-forward layers over D.
        positions: Longest row, start included.
        dropout: In training.
        start: Index that begins a sentence.
        end: Index that ends it.
        pad: Index of padding.

    Source:
        RA-SSU (arXiv 2603.09809), section IV-B.4, "inspired by the GPT and BERT"; sizes, left open there, are ours.
    """

    def __init__(
        self,
        words: int,
        width: int = 512,
        layers: int = 6,
        heads: int = 8,
        ratio: int = 4,
        positions: int = 64,
        dropout: float = 0.1,
        start: int = 1,
        end: int = 2,
        pad: int = 0,
    ) -> None:
        super().__init__()
        self.positions, self.start, self.end, self.pad = positions, start, end, pad
        self.embed = nn.Embedding(words, width)
        self.position = nn.Parameter(torch.randn(positions, width) * 0.02)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, ratio, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(words))
        nn.init.normal_(self.embed.weight, std=width**-0.5)

    def forward(self, memory: Tensor, rows: Tensor, topic: Tensor | None = None) -> Tensor:
        """States (N, L, D) after each word of rows, int64 (N, L), for memory (N, M, D).

        What a sentence is about can also be told to every word directly, as `topic` (N, D): that is learnt much sooner
        than where to look in the memory.

        Raises:
            ValueError: If rows are longer than there are positions.
        """
        if rows.shape[1] > self.positions:
            raise ValueError(
                f"A sentence has {rows.shape[1]} word pieces with its start; this decoder has {self.positions} "
                "positions. Cut it, or build the decoder with more."
            )
        x = self._embed(rows) + self.position[: rows.shape[1]]
        if topic is not None:
            x = x + topic[:, None]
        for layer in self.layers:
            x = layer(x, memory, causal=True)
        states: Tensor = self.norm(x)
        return states

    def logits(self, states: Tensor) -> Tensor:
        """Logits of the next word for states (..., D): (..., words)."""
        return F.linear(states, self.embed.weight, self.bias)

    def _embed(self, rows: Tensor) -> Tensor:
        """Of unit variance, though the weights are small enough to read words off states."""
        return self.embed(rows) * self.embed.embedding_dim**0.5

    @torch.no_grad()
    def generate(
        self,
        memory: Tensor,
        most: int = 40,
        beams: int = 1,
        cache: bool = True,
        finish: Finish | None = None,
        topic: Tensor | None = None,
    ) -> Tensor:
        """Write a sentence for each row of the memory.

        One beam takes the likeliest word at each turn. With more, the likeliest sentences so far are kept, ended ones
        among them, and at the end the one with the highest mean log-probability per word is taken.

        Args:
            memory: (N, M, D).
            most: Longest sentence, end included; the decoder's positions where that is more.
            beams: Sentences kept per row.
            cache: Keep keys and values of earlier words; without it the same words come, more slowly.
            finish: Changes states before words are read off them.
            topic: What each sentence is about, (N, D), as in `forward`.

        Returns:
            int64 (N, L), each row ended by the end word and then padded, unless it ran into `most`.

        Raises:
            ValueError: If beams or most is below 1.
        """
        if beams < 1 or most < 1:
            raise ValueError(f"beams is {beams}, most {most}; both are at least 1.")
        turn = _Turn(self, memory, cache, finish, topic)
        limit = min(most, self.positions)
        if not len(memory):
            return torch.empty(0, 0, dtype=torch.int64, device=memory.device)
        return self._greedy(turn, limit) if beams == 1 else self._beam(turn, limit, beams)

    def _greedy(self, turn: "_Turn", limit: int) -> Tensor:
        rows = torch.full((turn.count, 1), self.start, device=turn.memory.device)
        ended = torch.zeros(turn.count, dtype=torch.bool, device=rows.device)
        for _ in range(limit):
            best = turn.next(rows).argmax(-1).masked_fill(ended, self.pad)
            rows = torch.cat([rows, best[:, None]], 1)
            ended |= best == self.end
            if ended.all():
                break
        return rows[:, 1:]

    def _beam(self, turn: "_Turn", limit: int, beams: int) -> Tensor:
        count, words = turn.count, self.embed.num_embeddings
        beams = min(beams, words)
        turn.repeat(beams)
        rows = torch.full((count * beams, 1), self.start, device=turn.memory.device)
        score = torch.full((count, beams), -torch.inf, device=rows.device)
        score[:, 0] = 0  # all beams are alike at first: only one may speak
        ended = torch.zeros(count, beams, dtype=torch.bool, device=rows.device)
        length = torch.zeros(count, beams, device=rows.device)
        first = torch.arange(count, device=rows.device)[:, None] * beams
        for _ in range(limit):
            log_p = turn.next(rows).float().log_softmax(-1).unflatten(0, (count, beams))
            log_p = log_p.masked_fill(ended[..., None], -torch.inf)
            log_p[..., self.pad] = torch.where(ended, 0.0, log_p[..., self.pad])
            score, flat = (score[..., None] + log_p).flatten(1).topk(beams)
            origin, word = flat // words, flat % words
            ended, length = ended.gather(1, origin), length.gather(1, origin)
            length = length + ~ended
            ended = ended | (word == self.end)
            chosen = (first + origin).flatten()
            rows = torch.cat([rows[chosen], word.view(-1, 1)], 1)
            if ended.all():
                break
            turn.reorder(chosen)
        best = (score / length.clamp(min=1)).argmax(1)
        return rows.unflatten(0, (count, beams))[torch.arange(count, device=rows.device), best, 1:]


class _Turn:
    """What is known while sentences are written: the memory of each row, and the cache."""

    def __init__(
        self, decoder: TextDecoder, memory: Tensor, cache: bool, finish: Finish | None, topic: Tensor | None
    ) -> None:
        self.decoder, self.memory, self.finish, self.topic = decoder, memory, finish, topic
        self.numbers = torch.arange(len(memory), device=memory.device)
        self.caches = [Cache() for _ in decoder.layers] if cache else None

    @property
    def count(self) -> int:
        return len(self.memory)

    def next(self, rows: Tensor) -> Tensor:
        """Logits (N, words) of the word after rows (N, L)."""
        decoder, place = self.decoder, rows.shape[1] - 1
        if self.caches is None:
            states = decoder(self.memory, rows, self.topic)[:, -1:]
        else:
            x = decoder._embed(rows[:, place:]) + decoder.position[place]
            x = x if self.topic is None else x + self.topic[:, None]
            for layer, cache in zip(decoder.layers, self.caches, strict=True):
                x = layer(x, self.memory, cache=cache)
            states = decoder.norm(x)
        if self.finish is not None:
            states = self.finish(states, self.numbers)
        return decoder.logits(states[:, 0])

    def repeat(self, times: int) -> None:
        """Let every row be written several times; before the first turn."""
        self.memory, self.numbers = (x.repeat_interleave(times, 0) for x in (self.memory, self.numbers))
        self.topic = None if self.topic is None else self.topic.repeat_interleave(times, 0)

    def reorder(self, chosen: Tensor) -> None:
        """Go on with rows of the given numbers, all of which stay with their memory."""
        for cache in self.caches or ():
            cache.reorder(chosen)
