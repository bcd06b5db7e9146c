# SPDX-License-Identifier: Apache-2.0
"""A question read in the light of its clip: each word knows what of it is heard, seen and counted."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.heads.class_table import ClassTable
from avkit.nn.padded_gru import read_padded
from avkit.nn.position import grid_code, time_code


class Grounding(nn.Module):
    """Each word attends to tokens, and learns how much of what it names there is.

    Words and tokens are compared as they are, plus a learned projection: where words and tokens of one meaning already
    have similar features, as class names do, a word finds its object from the first step. Attention weights add up to
    one and so cannot tell an amount; the mean and the peak of every head's match do.

    Args:
        width: Width D.
        heads: Attention heads.
    """

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width + 2 * heads, width)

    def forward(self, words: Tensor, tokens: Tensor, positions: Tensor, valid: Tensor) -> Tensor:
        """Words (B, L, D) attend to tokens (B, N, D) with position codes (N, D), valid bool (B, N): (B, L, D)."""
        query = self._split(words + self.query(words))
        key = self._split(tokens + self.key(tokens))
        value = self._split(self.value(tokens + positions))
        match = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        keep = valid[:, None, None]
        weights = match.masked_fill(~keep, -torch.inf).softmax(-1)
        content = rearrange(weights @ value, "b h l d -> b l (h d)")
        presence = match.sigmoid() * keep
        mean = presence.sum(-1) / keep.sum(-1)
        amount = rearrange(torch.cat([mean, presence.amax(-1)], dim=1), "b k l -> b l k")
        return self.out(torch.cat([content, amount], dim=-1))

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (h d) -> b h n d", h=self.heads)


@dataclass
class Question:
    """A question and its clip.

    Attributes:
        words: The words, each with what it found in the clip and in the words around it, (B, L, D).
        summary: The question, its strongest word, how the clip answers it, and the clip, (B, 4 D).
    """

    words: Tensor
    summary: Tensor


class QuestionReader(nn.Module):
    """The question's words attend to the clip, then are read in order.

    Each word is grounded in the sounds, in the patches of all pictures and in a table of classes; then a bidirectional
    GRU, which knows the order of words, makes a sentence of them, which also weighs the clip as a whole.

    Args:
        width: Width D of the tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ground_audio = Grounding(width)
        self.ground_patches = Grounding(width)
        self.ground_classes = Grounding(width)
        self.table = ClassTable(width)
        self.norms = nn.ModuleDict(
            {name: nn.LayerNorm(width) for name in ("audio", "patches", "words", "order", "out")}
        )
        self.audio = nn.Linear(width, width)
        self.patches = nn.Linear(width, width)
        self.both = nn.Linear(width, width)
        self.order = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.whole = nn.Linear(4 * width, width)

    def read(self, tokens: Tokens) -> Question:
        """The words and their summary.

        Raises:
            ValueError: If the tokens carry no question.
        """
        if tokens.text is None or tokens.text_valid is None:
            raise ValueError("An answer needs a question: tokens.text is None.")
        audio = self.norms["audio"](tokens.audio)
        patches = self.norms["patches"](tokens.patches)
        # the product of sound and picture of a step is large where both show the same
        patches = patches + self.both(self.audio(audio)[:, :, None] * self.patches(patches))
        words = self._ground(self.norms["words"](tokens.text), audio, patches, tokens)
        clip = self._pool_clip(audio, patches, tokens.valid)
        if tokens.names is not None:
            table, summary = self.table(audio, patches, tokens.names, tokens.grid, tokens.valid)
            all_classes = torch.ones_like(table[..., 0], dtype=torch.bool)
            words = words + self.ground_classes(words, table, torch.zeros_like(table[0]), all_classes)
            clip = clip + summary
        words = self.norms["out"](words + self._read_in_order(self.norms["order"](words), tokens))
        keep = tokens.text_valid.to(words.dtype)[..., None]
        sentence = (words * keep).sum(1) / keep.sum(1)
        peak = words.masked_fill(~tokens.text_valid[..., None], -torch.inf).amax(1)
        return Question(words, torch.cat([sentence, peak, clip * sentence, clip], dim=-1))

    def _ground(self, words: Tensor, audio: Tensor, patches: Tensor, tokens: Tokens) -> Tensor:
        """Words (B, L, D) that have attended to sounds and patches."""
        time = time_code(audio)
        places = rearrange(time[:, None] + grid_code(tokens.grid, audio), "t p d -> (t p) d")
        flat = rearrange(patches, "b t p d -> b (t p) d")
        valid = tokens.valid.repeat_interleave(patches.shape[2], dim=1)
        return (
            words
            + self.ground_audio(words, audio, time, tokens.valid)
            + self.ground_patches(words, flat, places, valid)
        )

    def _read_in_order(self, words: Tensor, tokens: Tokens) -> Tensor:
        """Each word in the context of those before and after it, (B, L, D)."""
        if torch.compiler.is_compiling() and len(words) == 1:  # one question alone has no padding
            return self.order(words)[0]
        lengths = tokens.text_lengths
        if lengths is None:
            assert tokens.text_valid is not None
            lengths = tokens.text_valid.sum(1).cpu()
        return read_padded(self.order, words, lengths)

    def _pool_clip(self, audio: Tensor, patches: Tensor, valid: Tensor) -> Tensor:
        """Mean and peak of the sounds and of the pictures of a clip, (B, D)."""
        keep = valid[..., None]
        count = keep.sum(1)
        loudest = audio.masked_fill(~keep, -torch.inf).amax(1)
        means = [(x * keep).sum(1) / count for x in (audio, patches.mean(2), patches.amax(2))]
        return self.whole(torch.cat([means[0], loudest, means[1], means[2]], dim=-1))
