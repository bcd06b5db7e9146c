# SPDX-License-Identifier: Apache-2.0
"""From tokens to features, and from features to the probabilities of the next token."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import exportable
from avkit.heads.codec import END, PAD, Codec
from avkit.heads.forms.base import Form
from avkit.heads.sequence_memory import Memory
from avkit.nn.position import time_code

#: Kinds of tokens that stand for classes, and how often the list of classes is in each.
_CLASS_KINDS = {"class": 1, "heard or seen": 2}
#: Kinds of tokens that stand for numbers.
_NUMBERS = ("start", "end", "bin")


@exportable
@dataclass
class SlotScores:
    """What a decoder says of the true tokens of one slot.

    Attributes:
        kind: Kind of the slot's tokens.
        log_p: Log-probabilities of the end and of all values, (n, 1 + values); of codes of values alone.
        target: The true one, int64 (n,).
    """

    kind: str
    log_p: Tensor
    target: Tensor

    def losses(self) -> Tensor:
        """Cross-entropy of each token, (n,)."""
        return -self.log_p.gather(1, self.target[:, None])[:, 0]


class TokenScores(nn.Module):
    """The vocabulary's embeddings, as inputs and as outputs.

    A class is embedded as itself plus the text feature of its name, and a feature's score for a class is that of a
    linear layer plus its match with the name; so the tokens of all datasets for one thing begin alike. A word's score
    is that of a linear layer plus the log-odds that the sentence has it. A code of a block of a mask is scored by the
    evidence for each of its cells, so that codes with similar edges have similar scores.

    Args:
        width: Width D.
        codec: The vocabulary.
    """

    def __init__(self, width: int, codec: Codec) -> None:
        super().__init__()
        self.code = codec.code
        self.input = nn.Embedding(len(codec), width, padding_idx=PAD)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, len(codec))
        self.cells = nn.Linear(width, codec.code.cells**2)
        with torch.no_grad():  # a code's score is a sum over all cells
            self.cells.weight /= codec.code.cells
        for kind, (first, count) in codec.spans.items():
            if kind.startswith(tuple(_CLASS_KINDS)):  # most classes are absent from most steps
                nn.init.constant_(self.output.bias[first : first + count], -2.0)
        for kind in _NUMBERS:
            first, count = codec.spans[kind]
            order = time_code(torch.zeros(1, count, width)) / width**0.5
            with torch.no_grad():  # numbers that are near each other begin alike
                self.input.weight[first : first + count] += order * width**0.5
                self.output.weight[first : first + count] += order
        self.trust = nn.ModuleDict({"class": _trust(width, [2]), "heard_or_seen": _trust(width, [0, 1])})
        self.code_span = codec.spans["code"]

    def embed(self, rows: Tensor, form: Form, names: Tensor | None) -> Tensor:
        """Embeddings of tokens (N, L) of a form: (N, L, D); names (K, D) are those of the dataset's classes."""
        table = self.input.weight
        kind = form.slots[0]
        if names is not None and kind in _CLASS_KINDS:
            first = form.alphabet.spans[kind][0]
            named = names.repeat(_CLASS_KINDS[kind], 1)
            table = table + F.pad(named, (0, 0, first, len(table) - first - len(named)))
        return F.embedding(rows, table, padding_idx=PAD)

    def forward(self, x: Tensor, form: Form, slot: int, memory: Memory) -> Tensor:
        """Scores (N, I, 1 + values) of the end and of the values of a slot, from features (N, I, D)."""
        x = self.norm(x)
        kind = form.slots[slot]
        first, count = form.alphabet.spans[kind]
        weight = self.output.weight
        bias = self.output.bias
        scores = F.linear(x, weight[first : first + count], bias[first : first + count])
        if memory.names is not None and kind in _CLASS_KINDS:
            matches = self._match(x, kind, memory, memory.names)
            scores = scores + F.pad(matches, (0, count - matches.shape[-1]))
        if memory.mentions is not None and form.sentence:
            scores = scores + memory.mentions[:, None]
        end = F.linear(x, weight[END : END + 1], bias[END : END + 1])
        return torch.cat([end, scores], -1)

    def _match(self, x: Tensor, kind: str, memory: Memory, names: Tensor) -> Tensor:
        """How well classes match features (N, I, D), and what is heard and seen of them, (N, I, classes)."""
        own = x @ names.T / names.shape[1] ** 0.5
        if memory.evidence is None:
            return own.repeat(1, 1, _CLASS_KINDS[kind])
        trust = self.trust[kind.replace(" ", "_")](x).unflatten(-1, (-1, 3))  # (N, I, copies, 3)
        copies = torch.einsum("nice,nke->nick", trust, memory.evidence)
        return (copies + own[:, :, None]).flatten(2)

    def codes(self, x: Tensor) -> Tensor:
        """Scores (..., codes) of the codes of blocks, from features (..., D)."""
        x = self.norm(x)
        first, count = self.code_span
        evidence = self.cells(x) @ (2 * self.code.patterns - 1).T
        scores: Tensor = evidence + F.linear(x, self.output.weight[first : first + count])
        return scores


def _trust(width: int, kinds: Sequence[int]) -> nn.Linear:
    """How much each of three kinds of evidence counts, for each copy of the classes: at first the one named, fully."""
    layer = nn.Linear(width, 3 * len(kinds))
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.bias.copy_(torch.eye(3)[list(kinds)].flatten())
    return layer


def log_probabilities(scores: Tensor, low: Tensor, high: Tensor, end: Tensor, ascending: bool) -> Tensor:
    """Log-probabilities of the end and of the values within bounds.

    Args:
        scores: Of the end and of all values, (N, I, 1 + values).
        low: Smallest value, int64 (N, I).
        high: One more than the largest.
        end: Whether the row may end, bool (N, I).
        ascending: Whether values are members of a set that are written in order. A score is then the log-odds that its
            value is there; the next is the first that is, and the row ends where no other is.

    Returns:
        (N, I, 1 + values), minus infinity where a token is not allowed.
    """
    scores = scores.float()
    numbers = torch.arange(scores.shape[-1] - 1, device=scores.device)
    allowed = (numbers >= low[..., None]) & (numbers < high[..., None])
    if ascending:
        values = scores[..., 1:]
        absent = F.logsigmoid(-values).masked_fill(~allowed, 0)
        before = absent.cumsum(-1) - absent
        values = (F.logsigmoid(values) + before).masked_fill(~allowed, -torch.inf)
        return torch.cat([absent.sum(-1, keepdim=True), values], -1)
    allowed = torch.cat([(end | ~allowed.any(-1))[..., None], allowed], -1)
    return scores.masked_fill(~allowed, -torch.inf).log_softmax(-1)
