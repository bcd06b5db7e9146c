# SPDX-License-Identifier: Apache-2.0
"""An autoregressive Transformer that generates captions greedily or by beam search, with a cache of keys and values."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.nn.decoder_layer import Cache, DecoderLayer
from avkit.nn.padding import surely_all
from avkit.nn.repetition import SentenceWriter, repeating_words

#: Changes states (N, 1, D) before words are read off them; also given the numbers of their rows of the memory, (N,).
StateTransform = Callable[[Tensor, Tensor], Tensor]


class TextDecoder(SentenceWriter):
    """Pre-norm Transformer decoder with learned positions.

    Args:
        words: Size of the vocabulary.
        width: Width D, of the memory too.
        layers: Decoder layers.
        heads: Attention heads.
        ratio: Width of the feed-forward layers over D.
        positions: Longest row, start included.
        dropout: Dropout rate in training.
        start: Index that begins a caption.
        end: Index that ends a caption.
        pad: Index of padding.
        tied: Use the embedding's weights as the output layer too. Without that a caption decoder learns sooner: at
            first a tied one predicts the word that it has just read.
        starts: Which entries of the vocabulary begin a word, where others go on with one; None where all are words.

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
        tied: bool = True,
        starts: Sequence[bool] | None = None,
    ) -> None:
        super().__init__()
        self.positions = positions
        self.start = start
        self.end = end
        self.pad = pad
        self.starts = starts
        self.embed = nn.Embedding(words, width)
        self.position = nn.Parameter(torch.randn(positions, width) * 0.02)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, ratio, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(words))
        nn.init.normal_(self.embed.weight, std=width**-0.5)
        self.out: nn.Parameter | None = None
        if not tied:
            self.out = nn.Parameter(torch.randn(words, width) * width**-0.5)

    def forward(self, memory: Tensor, rows: Tensor, topic: Tensor | None = None) -> Tensor:
        """States after each word of rows.

        Args:
            memory: Tokens that every word attends to, (N, M, D).
            rows: Words so far, int64 (N, L).
            topic: A vector per caption that is added to every word, (N, D); it is learned much sooner than where in the
                memory to look.

        Returns:
            (N, L, D).

        Raises:
            ValueError: If rows are longer than there are positions.
        """
        if rows.shape[1] > self.positions:
            raise ValueError(
                f"A sentence has {rows.shape[1]} word pieces with its start; this decoder has {self.positions} "
                "positions. Cut it, or build the decoder with more."
            )
        x = self.embed_words(rows) + self.position[: rows.shape[1]]
        if topic is not None:
            x = x + topic[:, None]
        for layer in self.layers:
            x = layer(x, memory, causal=True)
        states: Tensor = self.norm(x)
        return states

    def logits(self, states: Tensor) -> Tensor:
        """Logits of the next word for states (..., D): (..., words)."""
        weight = self.embed.weight if self.out is None else self.out
        return F.linear(states, weight, self.bias)

    def embed_words(self, rows: Tensor) -> Tensor:
        """Embeddings of unit variance; the weights are smaller, since words are also read off states with them."""
        return self.embed(rows) * self.embed.embedding_dim**0.5

    @torch.no_grad()
    def generate(
        self,
        memory: Tensor,
        max_pieces: int = 40,
        beams: int = 1,
        cache: bool = True,
        transform: StateTransform | None = None,
        topic: Tensor | None = None,
    ) -> Tensor:
        """Generate a caption for each row of the memory.

        One beam takes the likeliest word in each step. With more, the likeliest unfinished and finished captions are
        kept, and at the end the one with the highest mean log-probability per word is taken.

        Args:
            memory: (N, M, D).
            max_pieces: Longest caption, end included; limited by the decoder's positions.
            beams: Captions kept per row.
            cache: Keep keys and values of earlier words; without it the same words come, more slowly.
            transform: Changes states before words are read off them.
            topic: A vector per caption, (N, D), as in `forward`.

        Returns:
            int64 (N, L), each row ended by the end word and then padded, unless it reached `max_pieces`.

        Raises:
            ValueError: If beams or max_pieces is below 1.
        """
        if beams < 1 or max_pieces < 1:
            raise ValueError(f"beams is {beams}, max_pieces {max_pieces}; both are at least 1.")
        if not len(memory):
            return torch.empty(0, 0, dtype=torch.int64, device=memory.device)
        generation = _Generation(self, memory, topic, transform, cache=cache)
        limit = min(max_pieces, self.positions)
        if beams == 1:
            return self._greedy(generation, limit)
        return self._beam_search(generation, limit, min(beams, self.embed.num_embeddings))

    def _greedy(self, generation: "_Generation", limit: int) -> Tensor:
        count = len(generation.memory)
        device = generation.memory.device
        rows = torch.full((count, 1), self.start, device=device)
        ended = torch.zeros(count, dtype=torch.bool, device=device)
        for _ in range(limit):
            best = generation.next_logits(rows).argmax(-1).masked_fill(ended, self.pad)
            rows = torch.cat([rows, best[:, None]], 1)
            ended |= best == self.end
            if surely_all(ended):
                break
        return rows[:, 1:]

    def _beam_search(self, generation: "_Generation", limit: int, beams: int) -> Tensor:
        count = len(generation.memory)
        words = self.embed.num_embeddings
        generation.repeat(beams)
        device = generation.memory.device
        rows = torch.full((count * beams, 1), self.start, device=device)
        score = torch.full((count, beams), -torch.inf, device=device)
        score[:, 0] = 0  # all beams are equal at first, so that only one may continue
        ended = torch.zeros(count, beams, dtype=torch.bool, device=device)
        length = torch.zeros(count, beams, device=device)
        first = torch.arange(count, device=device)[:, None] * beams
        for _ in range(limit):
            log_p = generation.next_logits(rows).float().log_softmax(-1).unflatten(0, (count, beams))
            log_p = log_p.masked_fill(ended[..., None], -torch.inf)
            log_p[..., self.pad] = torch.where(ended, 0.0, log_p[..., self.pad])
            score, flat = (score[..., None] + log_p).flatten(1).topk(beams)
            origin = flat // words
            word = flat % words
            ended = ended.gather(1, origin)
            length = length.gather(1, origin) + ~ended
            ended = ended | (word == self.end)
            chosen = (first + origin).flatten()
            rows = torch.cat([rows[chosen], word.view(-1, 1)], 1)
            if surely_all(ended):
                break
            generation.reorder(chosen)
        best = (score / length.clamp(min=1)).argmax(1)
        return rows.unflatten(0, (count, beams))[torch.arange(count, device=device), best, 1:]


class _Generation:
    """The state of a generation: memory and topic of each row, and the cache of each layer."""

    def __init__(
        self,
        decoder: TextDecoder,
        memory: Tensor,
        topic: Tensor | None,
        transform: StateTransform | None,
        *,
        cache: bool,
    ) -> None:
        self.decoder = decoder
        self.memory = memory
        self.topic = topic
        self.transform = transform
        self.numbers = torch.arange(len(memory), device=memory.device)
        self.caches = [Cache() for _ in decoder.layers] if cache else None

    def next_logits(self, rows: Tensor) -> Tensor:
        """Logits (N, words) of the word after rows (N, L)."""
        states = self._states(rows) if self.caches is None else self._cached_states(rows, self.caches)
        if self.transform is not None:
            states = self.transform(states, self.numbers)
        logits = self.decoder.logits(states[:, 0])
        if self.decoder.repeats:
            return logits
        starts = None if self.decoder.starts is None else torch.tensor(self.decoder.starts, device=rows.device)
        return logits.masked_fill(repeating_words(rows[:, 1:], logits.shape[1], starts), -torch.inf)

    def _states(self, rows: Tensor) -> Tensor:
        states: Tensor = self.decoder(self.memory, rows, self.topic)
        return states[:, -1:]

    def _cached_states(self, rows: Tensor, caches: list[Cache]) -> Tensor:
        decoder = self.decoder
        last = rows.shape[1] - 1
        x = decoder.embed_words(rows[:, last:]) + decoder.position[last]
        if self.topic is not None:
            x = x + self.topic[:, None]
        for layer, cache in zip(decoder.layers, caches, strict=True):
            x = layer(x, self.memory, cache=cache)
        states: Tensor = decoder.norm(x)
        return states

    def repeat(self, times: int) -> None:
        """Repeat every row; before the first word."""
        self.memory = self.memory.repeat_interleave(times, 0)
        self.numbers = self.numbers.repeat_interleave(times, 0)
        if self.topic is not None:
            self.topic = self.topic.repeat_interleave(times, 0)

    def reorder(self, chosen: Tensor) -> None:
        """Continue with the rows of the given numbers, which stay with their memory."""
        for cache in self.caches or ():
            cache.reorder(chosen)
