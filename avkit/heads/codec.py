# SPDX-License-Identifier: Apache-2.0
"""One vocabulary of tokens for the answers of all tasks: from targets to rows of tokens, and from rows to predictions.

A row is a token that names its form, items one after the other, and an end. All items of a form have the same slots,
so the place in a row decides which part of the vocabulary comes next, and the form's bounds which tokens of it. Every
row of tokens that `Codec.allowed` permits can be decoded.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from avkit.batch import Batch, Vocabulary
from avkit.errors import unknown_name
from avkit.heads.forms import FORMS, Form, Item
from avkit.heads.forms.base import Alphabet, Written
from avkit.heads.mask_code import MaskCode
from avkit.text.tokenizer import WordTokenizer

PAD, END = 0, 1


class Codec(nn.Module):
    """Tokens of classes, times, boxes, answers, words and blocks of masks, side by side in one vocabulary.

    Args:
        vocabulary: Classes, answers and words of the dataset.
        steps: Longest clip in steps.
        parts: Parts of a step in which times are written; finer ones are rounded.
        bins: Parts of a side of the picture in which boxes are written.
        code: Code of masks.
    """

    def __init__(
        self, vocabulary: Vocabulary, steps: int = 64, parts: int = 10, bins: int = 64, code: MaskCode | None = None
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.steps = steps
        self.code = code or MaskCode()
        self.words = WordTokenizer(vocabulary.words)
        counts = {
            "special": 2,
            "form": len(FORMS),
            "modality": 2,
            "class": len(vocabulary.classes) + 1,  # the last is for objects without a class
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
            self.spans[kind] = (total, count)
            total += count
        self.total = total
        self.alphabet = Alphabet(vocabulary, self.words, parts, bins, self.code, self.spans)

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
        return FORMS[name](self.alphabet)

    def start(self, name: str) -> int:
        """The token that names a form."""
        return self.spans["form"][0] + list(FORMS).index(name)

    def encode(self, name: str, fields: dict[str, object], batch: Batch) -> tuple[Tensor, Tensor]:
        """Rows of tokens of the targets, or of values in their place.

        Args:
            name: Name of the form.
            fields: Targets as in `Batch.targets`.
            batch: The batch that they belong to.

        Returns:
            Tokens, int64 (N, L), padded; and which of the clips, bool (B,), or of the steps, bool (B, T), have a row:
            those that are annotated.

        Raises:
            ValueError: If a clip has more steps than there are tokens for.
        """
        form = self.form(name)
        self.check(batch)
        kept = form.annotated(fields, batch)
        rows = [self._row(name, form, items) for items in form.items(fields, batch, kept)]
        tokens = torch.full((len(rows), max(map(len, rows), default=2)), PAD)
        for padded, row in zip(tokens, rows, strict=True):
            padded[: len(row)] = torch.tensor(row)
        return tokens.to(batch.valid.device), kept

    def _row(self, name: str, form: Form, items: Sequence[Item]) -> list[int]:
        """The tokens of a row."""
        first = [self.spans[kind][0] for kind in form.slots]
        row = [self.start(name)]
        for item in items:
            row += [base + value for base, value in zip(first, item, strict=True)]
        return [*row, END]

    def decode(self, name: str, written: Written, batch: Batch) -> dict[str, object]:
        """Values of a `Prediction` from rows, one per clip or per step of the batch."""
        return self.form(name).values(self.read(name, written.tokens), written, batch)

    def read(self, name: str, tokens: Tensor) -> list[list[Item]]:
        """The items of each row.

        Raises:
            ValueError: If a row is no complete row of this form.
        """
        form = self.form(name)
        return [self._read_row(name, form, row) for row in tokens.tolist()]

    def _read_row(self, name: str, form: Form, row: list[int]) -> list[Item]:
        size = len(form.slots)
        first = [self.spans[kind][0] for kind in form.slots]
        if row[0] != self.start(name) or END not in row or (row.index(END) - 1) % size:
            raise ValueError(f"{row[:12]} ... is no whole row of form {name!r}.")
        items = []
        for start in range(1, row.index(END), size):
            item = row[start : start + size]
            items.append(tuple(token - base for token, base in zip(item, first, strict=True)))
        return items

    def check(self, batch: Batch) -> None:
        """Check that there are tokens for all steps.

        Raises:
            ValueError: If a clip has more steps.
        """
        if batch.valid.shape[1] > self.steps:
            raise ValueError(
                f"Clip {batch.id[0]!r} is in a batch of {batch.valid.shape[1]} steps; sequences have tokens for "
                f"{self.steps}. Cut it, take a larger hop, or use --model.interface heads."
            )

    def allowed(self, name: str, tokens: Tensor, steps: Tensor) -> Tensor:
        """Which tokens may come next, bool (N, vocabulary).

        Args:
            name: Name of the form.
            tokens: Rows so far that have not ended, the form's token first, (N, L).
            steps: Steps of the clip that each row is about, (N,).
        """
        form = self.form(name)
        size = len(form.slots)
        place = tokens.shape[1] - 1
        number, slot = divmod(place, size)
        item = self._values(form, tokens, number * size, place)
        before = self._values(form, tokens, (number - 1) * size, number * size) if number else None
        low, high = form.bounds(slot, item, before, steps)
        if slot == 0 and number >= form.max_items:
            high = low
        first = self.spans[form.slots[slot]][0]
        numbers = torch.arange(self.total, device=tokens.device)
        allowed = (numbers >= (first + low)[:, None]) & (numbers < (first + high)[:, None])
        if slot == 0 and number >= form.min_items:
            allowed[:, END] = True
        return allowed

    def _values(self, form: Form, tokens: Tensor, start: int, end: int) -> list[Tensor]:
        """Values of the tokens at places `start` to `end` after the form's token, (N,) each."""
        values = []
        for place in range(start, end):
            kind = form.slots[place % len(form.slots)]
            values.append(tokens[:, 1 + place] - self.spans[kind][0])
        return values

    def longest(self, names: Sequence[str]) -> int:
        """Number of tokens of the longest row of these forms."""
        lengths = []
        for name in names:
            form = self.form(name)
            lengths.append(2 + form.max_items * len(form.slots))
        return max(lengths)
