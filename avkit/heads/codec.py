# SPDX-License-Identifier: Apache-2.0
"""One vocabulary of tokens for the answers of all tasks: from targets to rows of tokens, and from rows to predictions.

A row is a token that names its form, items one after the other, and an end. All items of a form have the same slots,
so the place in a row decides which part of the vocabulary comes next, and the form's bounds which tokens of it. Every
row of tokens within these bounds can be decoded.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
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

    Each list of classes and each list of answers has a slice of its own: tasks of one dataset share theirs, and
    datasets whose lists differ, be it in order alone, have different ones. All else is shared by all.

    Args:
        vocabulary: Classes, answers and words of the datasets.
        parts: Parts of a step in which times are written; finer ones are rounded.
        bins: Parts of a side of the picture in which boxes are written.
        code: Code of masks.
    """

    def __init__(self, vocabulary: Vocabulary, parts: int = 10, bins: int = 64, code: MaskCode | None = None) -> None:
        super().__init__()
        self.code = code or MaskCode()
        self.words = WordTokenizer(vocabulary.words)
        self.parts = parts
        self.bins = bins
        #: First token and number of tokens of each kind; slices of a dataset carry a number.
        self.spans: dict[str, tuple[int, int]] = {}
        self.total = 0
        shared = {
            "special": 2,
            "form": len(FORMS),
            "start": parts + 1,  # the last of starts and ends is for events that go on
            "end": parts + 1,
            "bin": bins + 1,
            "word": len(self.words),
            "code": len(self.code),
        }
        for kind, count in shared.items():
            self._add_span(kind, count)
        self._shared = dict(self.spans)
        self._slices: dict[tuple[str, ...], int] = {}
        #: What tokens stand for, by task where tasks read different datasets.
        self.alphabets = {task: self._alphabet(vocabulary.of(task)) for task in vocabulary.tasks}
        self._common = None if self.alphabets else self._alphabet(vocabulary)

    def _add_span(self, kind: str, count: int) -> None:
        """Append tokens to the vocabulary."""
        self.spans[kind] = (self.total, count)
        self.total += count

    def _alphabet(self, vocabulary: Vocabulary) -> Alphabet:
        """The tokens of a dataset: those that all share, and the slices of its classes and answers."""
        classes = len(vocabulary.classes)
        spans = dict(self._shared)
        # the class after the last is for objects without one
        spans["class"] = self._slice("class", vocabulary.classes, classes + 1)
        spans["heard or seen"] = self._slice("heard or seen", vocabulary.classes, 2 * classes)
        spans["answer"] = self._slice("answer", vocabulary.answers, len(vocabulary.answers))
        return Alphabet(vocabulary, self.words, self.parts, self.bins, self.code, spans)

    def _slice(self, kind: str, names: Sequence[str], count: int) -> tuple[int, int]:
        """Tokens for a list of names, the same whenever the same list comes again."""
        number = self._slices.setdefault((kind, *names), len(self._slices))
        name = f"{kind} {number}"
        if name not in self.spans:
            self._add_span(name, count)
        return self.spans[name]

    def __len__(self) -> int:
        """Size of the vocabulary."""
        return self.total

    def form(self, name: str, task: str = "") -> Form:
        """A form by name, in the tokens of a task's dataset.

        Raises:
            ValueError: If there is no such form, or the vocabulary is of other tasks.
        """
        if name not in FORMS:
            raise unknown_name("form of a sequence", name, FORMS)
        if self._common is None and task not in self.alphabets:
            raise unknown_name("task of a sequence", task, self.alphabets)
        return FORMS[name](self._common or self.alphabets[task])

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
        """
        form = self.form(name, batch.task)
        kept = form.annotated(fields, batch)
        rows = [self._row(name, form, items) for items in form.items(fields, batch, kept)]
        tokens = torch.full((len(rows), max(map(len, rows), default=2)), PAD)
        for padded, row in zip(tokens, rows, strict=True):
            padded[: len(row)] = torch.tensor(row)
        return tokens.to(batch.valid.device), kept

    def _row(self, name: str, form: Form, items: Sequence[Item]) -> list[int]:
        """The tokens of a row."""
        first = [form.alphabet.spans[kind][0] for kind in form.slots]
        row = [self.start(name)]
        for item in items:
            row += [base + value for base, value in zip(first, item, strict=True)]
        return [*row, END]

    def decode(self, name: str, written: Written, batch: Batch) -> dict[str, object]:
        """Values of a `Prediction` from rows, one per clip or per step of the batch."""
        return self.form(name, batch.task).values(self.read(name, written.tokens, batch.task), written, batch)

    def read(self, name: str, tokens: Tensor, task: str = "") -> list[list[Item]]:
        """The items of each row.

        Raises:
            ValueError: If a row is no complete row of this form.
        """
        form = self.form(name, task)
        return [self._read_row(name, form, row) for row in tokens.tolist()]

    def _read_row(self, name: str, form: Form, row: list[int]) -> list[Item]:
        size = len(form.slots)
        first = [form.alphabet.spans[kind][0] for kind in form.slots]
        if row[0] != self.start(name) or END not in row or (row.index(END) - 1) % size:
            raise ValueError(f"{row[:12]} ... is no whole row of form {name!r}.")
        items = []
        for start in range(1, row.index(END), size):
            item = row[start : start + size]
            items.append(tuple(token - base for token, base in zip(item, first, strict=True)))
        return items

    def longest(self, names: Sequence[str]) -> int:
        """Most tokens that rows of these forms have without those that are written at once."""
        any_task = next(iter(self.alphabets), "")
        lengths = []
        for name in names:
            form = self.form(name, any_task)
            lengths.append(2 + form.max_items * form.in_order)
        return max(lengths)


def item_bounds(form: Form, rows: Tensor, item: int, slot: int) -> tuple[Tensor, Tensor]:
    """Smallest value that a slot of an item may have, and one more than the largest, (N,) each.

    Args:
        form: Form of the rows.
        rows: Rows that hold at least what is written in order before this slot, (N, L).
        item: Number of the item in the row.
        slot: Number of the slot in the item.
    """
    like = torch.zeros_like(rows[:, 0])
    if slot == 0 and item >= form.max_items:
        return like, like
    values = []
    for number in range(max(0, item - 1), item + 1):
        start = 1 + number * form.in_order
        kinds = form.slots[: slot if number == item else form.in_order]
        values.append([rows[:, start + place] - form.alphabet.spans[kind][0] for place, kind in enumerate(kinds)])
    return form.bounds(slot, values[-1], values[0] if item else None, like)


def split_rows(form: Form, rows: Tensor) -> tuple[Tensor, Tensor]:
    """What is written in order and what at once.

    Args:
        form: Form of the rows.
        rows: Whole rows, padded, (N, L).

    Returns:
        Rows without what is written at once, (N, 1 + I * in_order), and that by item, (N, I, at_once), padded.
    """
    size = len(form.slots)
    number = -(-(rows.shape[1] - 1) // size)
    body = F.pad(rows[:, 1:], (0, number * size - rows.shape[1] + 1), value=PAD)
    items = body.unflatten(1, (number, size))
    lead = torch.cat([rows[:, :1], items[..., : form.in_order].flatten(1)], 1)
    return lead, items[..., form.in_order :]


def interleave(form: Form, lead: Tensor, at_once: Tensor) -> Tensor:
    """Numbers of rows whose items were split, (N, 1 + I * in_order) and (N, I, at_once), in the order of whole rows."""
    number = at_once.shape[1]
    body = F.pad(lead[:, 1:], (0, number * form.in_order - lead.shape[1] + 1))
    items = torch.cat([body.unflatten(1, (number, form.in_order)), at_once], -1)
    return torch.cat([lead[:, :1], items.flatten(1)], 1)


def join_rows(form: Form, lead: Tensor, at_once: Tensor) -> Tensor:
    """Whole rows of what was written in order and at once, see `split_rows`; all after the end is padding."""
    rows = interleave(form, lead, at_once)
    after = (rows == END).cumsum(1) - (rows == END).int()
    return rows.masked_fill(after > 0, PAD)
