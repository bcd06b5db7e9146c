# SPDX-License-Identifier: Apache-2.0
"""One answer per question, from everything seen and heard in the clip."""

import torch
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.heads.position import grid_code, time_code


class Grounding(nn.Module):
    """What each word finds among tokens: where it looks, and how much of it there is.

    A word and a token meet as they are, plus what is learnt: where words and tokens of one meaning already lie close,
    as names of classes and what is classified by them do, a word finds its thing from the first step. Attention says
    what is there but, as its weights add up to one, not how much; the mean and the peak of every head's match say that.

    Args:
        width: Width D.
        heads: Attention heads.
    """

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width + 2 * heads, width)

    def forward(self, words: Tensor, tokens: Tensor, where: Tensor, valid: Tensor) -> Tensor:
        """Read tokens (B, N, D) at places `where` (N, D), valid bool (B, N), for words (B, L, D): (B, L, D)."""

        def split(x: Tensor) -> Tensor:
            return rearrange(x, "b n (h d) -> b h n d", h=self.heads)

        query, key = split(words + self.query(words)), split(tokens + self.key(tokens))
        match = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        seen = valid[:, None, None]
        weights = match.masked_fill(~seen, -torch.inf).softmax(-1)
        found = rearrange(weights @ split(self.value(tokens + where)), "b h l d -> b l (h d)")
        amount = match.sigmoid() * seen
        share = amount.sum(-1) / seen.sum(-1)
        much = rearrange(torch.cat([share, amount.amax(-1)], dim=1), "b k l -> b l k")
        return self.out(torch.cat([found, much], dim=-1))


class AnswerHead(nn.Module):
    """The question's words read the clip, then are read one after the other.

    First each word is grounded in the sounds and in the parts of all pictures; then a two-way GRU, which knows their
    order, joins the words to a sentence, whose meaning also weighs what the clip holds as a whole.

    Args:
        width: Width D of the tokens.
        answers: Number of answers K.
        heads: Attention heads.
    """

    def __init__(self, width: int, answers: int, heads: int = 4) -> None:
        super().__init__()
        self.hear, self.see = Grounding(width, heads), Grounding(width, heads)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in ("audio", "parts", "words", "order", "out")})
        self.audio, self.parts, self.both = (nn.Linear(width, width) for _ in range(3))
        self.order = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.whole = nn.Linear(4 * width, width)
        self.out = nn.Sequential(nn.Linear(3 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, answers))

    def forward(self, tokens: Tokens) -> Tensor:
        """Logits of the answers, (B, K).

        Raises:
            ValueError: If the tokens carry no question.
        """
        if tokens.text is None or tokens.text_valid is None:
            raise ValueError("The answer head needs a question: tokens.text is None.")
        audio = self.norms["audio"](tokens.audio)
        parts = self.norms["parts"](tokens.patches)
        # sound and picture of one step as a product: large where both say the same
        parts = parts + self.both(self.audio(audio)[:, :, None] * self.parts(parts))
        clock = time_code(audio)
        places = rearrange(clock[:, None] + grid_code(tokens.grid, audio), "t p d -> (t p) d")
        cells = parts.shape[2]
        flat = rearrange(parts, "b t p d -> b (t p) d")
        words = self.norms["words"](tokens.text)
        words = (
            words
            + self.hear(words, audio, clock, tokens.valid)
            + self.see(words, flat, places, tokens.valid.repeat_interleave(cells, dim=1))
        )
        words = self.norms["out"](words + self._in_order(self.norms["order"](words), tokens.text_valid))
        weights = tokens.text_valid.to(words.dtype)[..., None]
        sentence = (words * weights).sum(1) / weights.sum(1)
        peak = words.masked_fill(~tokens.text_valid[..., None], -torch.inf).amax(1)
        return self.out(torch.cat([sentence, peak, self._whole(audio, parts, tokens.valid) * sentence], dim=-1))

    def _in_order(self, words: Tensor, valid: Tensor) -> Tensor:
        """Each word after those before it and before those after it, (B, L, D)."""
        lengths = valid.sum(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.order(packed)[0], batch_first=True, total_length=words.shape[1])[0]

    def _whole(self, audio: Tensor, parts: Tensor, valid: Tensor) -> Tensor:
        """Mean and peak of the sounds and of the pictures of a clip, (B, D)."""
        keep = valid[..., None]
        count = keep.sum(1)

        def mean(x: Tensor) -> Tensor:
            return (x * keep).sum(1) / count

        loudest = audio.masked_fill(~keep, -torch.inf).amax(1)
        return self.whole(torch.cat([mean(audio), loudest, mean(parts.mean(2)), mean(parts.amax(2))], dim=-1))
