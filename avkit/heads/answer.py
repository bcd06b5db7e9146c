# SPDX-License-Identifier: Apache-2.0
"""One answer per question, from everything seen and heard in the clip."""

import torch
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.nn.decoder_layer import mlp
from avkit.nn.position import grid_code, time_code


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


class ClassTable(nn.Module):
    """One token per named class: whether, how long, how loud and since when it is heard, whether and where it is seen.

    Steps and parts are matched with the classes' names, so the table is only as good as these lie together; counting,
    comparing and ordering classes, which attention over single steps learns slowly, is then one step away.

    Args:
        width: Width D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.full((2,), -3.0))
        self.facts = mlp(13, width, width)
        self.norm = nn.LayerNorm(width)
        self.sums = mlp(26, width, width)

    def forward(
        self, audio: Tensor, parts: Tensor, names: Tensor, grid: tuple[int, int], valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """From audio (B, T, D), parts (B, T, P, D) on a grid and names (K, D), valid bool (B, T).

        Returns:
            A token per class, (B, K, D), and what they sum to, (B, D).
        """
        keep = valid[..., None].to(audio.dtype)
        names_ = names.T / names.shape[1] ** 0.5
        match = audio @ names_
        heard = (match + self.bias[0]).sigmoid() * keep
        places = (parts @ names_ + self.bias[1]).sigmoid() * keep[..., None]
        seen = places.amax(2)
        steps = 0.1 * torch.arange(heard.shape[1], device=heard.device)[:, None]
        rows, columns = (torch.linspace(-1, 1, n, device=heard.device) for n in grid)
        spread = places.sum(1).unflatten(1, grid)  # (B, rows, columns, K)
        total = spread.sum((1, 2)) + 1e-3
        length = keep.sum(1)
        facts = [
            *(x for part in (heard, seen, heard * seen) for x in (part.amax(1), part.sum(1) / length)),
            (match * heard).sum(1) / (heard.sum(1) + 1e-3),
            *((part * steps).sum(1) / (part.sum(1) + 1e-3) for part in (heard, seen)),
            (heard.cumsum(1).clamp(max=1) * keep).sum(1) / length,
            total / length,
            torch.einsum("bhwk,h->bk", spread, rows) / total,
            torch.einsum("bhwk,w->bk", spread, columns) / total,
        ]
        told = torch.stack(facts, dim=-1)
        return self.norm(self.facts(told)) + names, self.sums(torch.cat([told.sum(1), told.amax(1)], dim=-1))


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
        self.hear, self.see, self.look_up = (Grounding(width, heads) for _ in range(3))
        self.table = ClassTable(width)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in ("audio", "parts", "words", "order", "out")})
        self.audio, self.parts, self.both = (nn.Linear(width, width) for _ in range(3))
        self.order = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.whole = nn.Linear(4 * width, width)
        self.out = nn.Sequential(nn.Linear(4 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, answers))

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
        whole = self._whole(audio, parts, tokens.valid)
        if tokens.names is not None:
            table, sums = self.table(audio, parts, tokens.names, tokens.grid, tokens.valid)
            everywhere = torch.ones_like(table[..., 0], dtype=torch.bool)
            words = words + self.look_up(words, table, torch.zeros_like(table[0]), everywhere)
            whole = whole + sums
        words = self.norms["out"](words + self._in_order(self.norms["order"](words), tokens.text_valid))
        weights = tokens.text_valid.to(words.dtype)[..., None]
        sentence = (words * weights).sum(1) / weights.sum(1)
        peak = words.masked_fill(~tokens.text_valid[..., None], -torch.inf).amax(1)
        return self.out(torch.cat([sentence, peak, whole * sentence, whole], dim=-1))

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
