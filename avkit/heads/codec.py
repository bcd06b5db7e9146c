# SPDX-License-Identifier: Apache-2.0
"""One vocabulary for what every task answers: from targets to rows of tokens, and from rows to predictions.

A row is a token that names its form, items one after the other, and an end. All items of a form have the same slots,
so that at each place of a row it is known which part of the vocabulary comes next, and the forms' bounds say which of
it: what `Codec.allowed` lets pass can be read, whatever was drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avkit.batch import Batch, Vocabulary
from avkit.errors import unknown_name
from avkit.heads.forms import FORMS, Form, Item
from avkit.heads.mask_code import MaskCode
from avkit.text.tokenizer import WordTokenizer

PAD, END = 0, 1


@dataclass
class Written:
    """Rows that a decoder wrote.

    Attributes:
        tokens: int64 (N, L), the form's token first.
        chance: Probability of each token when it was chosen, (N, L); 1 for the form's.
        first: Log-probabilities of the token after the form's, (N, vocabulary).
    """

    tokens: Tensor
    chance: Tensor
    first: Tensor


class Codec(nn.Module):
    """Tokens of classes, times, boxes, answers, words and pieces of masks, side by side in one vocabulary.

    Args:
        vocabulary: Classes, answers and words of the dataset.
        steps: Longest clip in steps.
        parts: Parts of a step in which times are told; finer ones are rounded.
        bins: Parts of a side of the picture in which boxes are told.
        code: How masks are told.
    """

    def __init__(
        self, vocabulary: Vocabulary, steps: int = 64, parts: int = 10, bins: int = 64, code: MaskCode | None = None
    ) -> None:
        super().__init__()
        self.vocabulary, self.steps, self.parts, self.bins = vocabulary, steps, parts, bins
        self.code = code or MaskCode()
        self.words = WordTokenizer(vocabulary.words)
        counts = {
            "special": 2,
            "form": len(FORMS),
            "modality": 2,
            "class": len(vocabulary.classes) + 1,  # the last is a thing without a class
            "step": steps + 1,
            "part": parts,
            "bin": bins + 1,
            "answer": len(vocabulary.answers),
            "word": len(self.words),
            "code": len(self.code),
        }
        #: First token and number of tokens of each kind.
        self.spans: dict[str, tuple[int, int]] = {}
        total = 0
        for kind, count in counts.items():
            self.spans[kind] = total, count
            total += count
        self.total = total

    def __len__(self) -> int:
        """Size of the vocabulary."""
        return self.total

    def form(self, name: str) -> Form:
        """A form by name.

        Raises:
            ValueError: If there is none.
        """
        if name not in FORMS:
            raise unknown_name("form of a sequence", name, FORMS)
        return FORMS[name](self)

    def start(self, name: str) -> int:
        """The token that names a form."""
        return self.spans["form"][0] + list(FORMS).index(name)

    def encode(self, name: str, fields: dict[str, object], batch: Batch) -> tuple[Tensor, Tensor]:
        """Rows of the truth, or of what stands for it.

        Args:
            name: Of the form.
            fields: Targets as in `Batch.targets`.
            batch: Which steps there are.

        Returns:
            Tokens int64 (N, L), padded, and which of the clips, (B,), or of the steps, (B, T), they are about, as bool:
            what is not annotated has no row.

        Raises:
            ValueError: If a clip has more steps than can be told apart.
        """
        form = self.form(name)
        self.check(batch)
        kept = form.annotated(fields, batch)
        first = [self.spans[kind][0] for kind in form.slots]
        rows = [
            [self.start(name), *(base + value for item in items for base, value in zip(first, item, strict=True)), END]
            for items in form.items(fields, batch, kept)
        ]
        out = torch.full((len(rows), max(map(len, rows), default=2)), PAD)
        for line, row in zip(out, rows, strict=True):
            line[: len(row)] = torch.tensor(row)
        return out.to(batch.valid.device), kept

    def decode(self, name: str, written: Written, batch: Batch) -> dict[str, object]:
        """What rows say, one per clip or per step of the batch, as the values of a `Prediction`."""
        return self.form(name).values(self.read(name, written.tokens), written, batch)

    def read(self, name: str, tokens: Tensor) -> list[list[Item]]:
        """The items of each row.

        Raises:
            ValueError: If a row is no sequence of this form.
        """
        form = self.form(name)
        first, size = [self.spans[kind][0] for kind in form.slots], len(form.slots)
        out = []
        for row in tokens.tolist():
            body = row[1 : row.index(END)] if END in row else row[1:]
            items = [
                tuple(t - b for t, b in zip(body[i : i + size], first, strict=False)) for i in range(0, len(body), size)
            ]
            if row[0] != self.start(name) or END not in row or any(len(item) < size for item in items):
                raise ValueError(f"{row[:12]} ... is no whole row of form {name!r}.")
            out.append(items)
        return out

    def check(self, batch: Batch) -> None:
        """Raise ValueError if a clip is too long to be told."""
        if batch.valid.shape[1] > self.steps:
            raise ValueError(
                f"Clip {batch.id[0]!r} is in a batch of {batch.valid.shape[1]} steps; sequences tell {self.steps} "
                "apart. Cut it, take a larger hop, or use --model.interface heads."
            )

    def allowed(self, name: str, tokens: Tensor, steps: Tensor) -> Tensor:
        """Which tokens may come next, bool (N, vocabulary).

        Args:
            name: Of the form.
            tokens: Rows so far that have not ended, the form's token first, (N, L).
            steps: Steps of the clip that each row is about, (N,).
        """
        form, place = self.form(name), tokens.shape[1] - 1
        number, slot = divmod(place, len(form.slots))
        values = [
            tokens[:, 1 + i] - self.spans[form.slots[i % len(form.slots)]][0]
            for i in range(max(0, (number - 1) * len(form.slots)), place)
        ]
        item = values[len(values) - slot :]
        before = values[: len(form.slots)] if number else None
        low, high = form.bounds(slot, item, before, steps)
        first = self.spans[form.slots[slot]][0]
        if slot == 0 and number >= form.most:
            high = low
        every = torch.arange(self.total, device=tokens.device)
        out = (every >= (first + low)[:, None]) & (every < (first + high)[:, None])
        if slot == 0 and number >= form.least:
            out[:, END] = True
        return out

    def longest(self, names: Sequence[str]) -> int:
        """Tokens of the longest row of these forms."""
        return max(2 + self.form(name).most * len(self.form(name).slots) for name in names)
