# SPDX-License-Identifier: Apache-2.0
"""Captions and answers as items: a word each, or one answer."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from avkit.batch import Batch
from avkit.heads.forms.base import Form, Item, Written
from avkit.nn.answers import answer_index, answer_values
from avkit.text.tokenizer import join_words, split_words

#: Token of words outside the vocabulary, and the first token of a word; special tokens stand before.
_UNKNOWN = 3
_FIRST_WORD = 4


class CaptionForm(Form):
    """`ra_ssu`: the words of the step's caption."""

    slots = ("word",)
    per_step = True
    sentence = True
    max_items = 40

    def annotated(self, fields: dict[str, Any], batch: Batch) -> Tensor:
        """Steps with a caption."""
        with_caption = torch.zeros_like(batch.valid)
        for row, captions in zip(with_caption, fields["caption"], strict=True):
            row[: len(captions)] = torch.tensor([bool(caption) for caption in captions], device=row.device)
        return with_caption & batch.valid

    def bounds(self, slot: int, item: list[Tensor], before: list[Tensor] | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """Any word of the vocabulary."""
        low, high = super().bounds(slot, item, before, like)
        return low + _FIRST_WORD, high

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """Words; those outside the vocabulary share a token."""
        index = self.alphabet.words.index
        for captions, row in zip(fields["caption"], kept.tolist(), strict=True):
            for caption, keep in zip(captions, row, strict=False):
                if keep:
                    items = [(index.get(word, _UNKNOWN),) for word in split_words(caption)]
                    yield items[: self.max_items]

    def values(self, rows: list[list[Item]], written: Written, batch: Batch) -> dict[str, Any]:
        """`caption`."""
        words = self.alphabet.words.words
        captions = []
        for items in rows:
            captions.append(join_words([words[number] for (number,) in items]))
        length = batch.valid.shape[1]
        return {"caption": [captions[i : i + length] for i in range(0, len(captions), length)]}


class AnswerForm(Form):
    """`avqa`: one answer."""

    slots = ("answer",)
    min_items = 1
    max_items = 1

    def annotated(self, fields: dict[str, Any], batch: Batch) -> Tensor:
        """Questions whose answer is in the vocabulary."""
        answers = set(self.alphabet.vocabulary.answers)
        return torch.tensor([answer in answers for answer in fields["answer"]], device=batch.valid.device)

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """The answer's number."""
        answers = self.alphabet.vocabulary.answers
        for answer, keep in zip(fields["answer"], kept.tolist(), strict=True):
            if keep:
                yield [(answers.index(answer),)]

    def values(self, rows: list[list[Item]], written: Written, batch: Batch) -> dict[str, Any]:
        """`answer`, among a question's choices where it has some, and `answer_logits`."""
        answers = self.alphabet.vocabulary.answers
        return answer_values(written.first, batch, answers, answer_index(answers))
