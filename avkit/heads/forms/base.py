# SPDX-License-Identifier: Apache-2.0
"""The contract of a form: which items an answer has, which values may follow, and the way to targets and back."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from avkit.batch import Batch, Vocabulary
from avkit.heads.mask_code import MaskCode
from avkit.text.tokenizer import WordTokenizer

#: One object of an answer: a whole number per slot, such as a class, a step or a bin.
Item = tuple[int, ...]
#: Side in pixels at which masks and heat maps are drawn where the batch has no frames.
DEFAULT_SIDE = 64
#: Logit of a pixel, class or step that was written.
CERTAIN_LOGIT = 20.0


@dataclass
class Alphabet:
    """What the tokens of one dataset stand for.

    Attributes:
        vocabulary: Classes, answers and words of the dataset.
        words: Tokenizer of captions.
        parts: Parts of a step in which times are written.
        bins: Parts of a side of the picture in which boxes are written.
        code: Code of masks.
        spans: First token and number of tokens of each kind; those of classes and answers are the dataset's own.
    """

    vocabulary: Vocabulary
    words: WordTokenizer
    parts: int
    bins: int
    code: MaskCode
    spans: Mapping[str, tuple[int, int]]


@dataclass
class Written:
    """Rows that a decoder wrote.

    Attributes:
        tokens: int64 (N, L), the form's token first.
        chance: Probability of each token when it was chosen, (N, L); 1 for the form's. Of a form whose items are a set,
            the probability that the item is there.
        first: Log-probabilities of the values that the first slot may have, (N, values).
    """

    tokens: Tensor
    chance: Tensor
    first: Tensor


class Form(ABC):
    """How one kind of answer is written as items of whole numbers.

    Args:
        alphabet: What tokens stand for.
    """

    #: Kind of token at each place of an item, see `Alphabet.spans`.
    slots: tuple[str, ...]
    #: Number of slots at the end of an item that are written at once, such as the blocks of a mask; they depend on the
    #: slots before them in the item, and on nothing else that is written.
    at_once: int = 0
    #: Whether every step has a row of its own; otherwise every clip has one.
    per_step: ClassVar[bool] = False
    #: Whether the items are a set, written in the order of their first slot. Each value of that slot is then there or
    #: not, whatever the values after it.
    ascending: ClassVar[bool] = False
    #: Of a set: the smallest probability at which an item is written. Below one half where items are ranked by it.
    least_chance: ClassVar[float] = 0.5
    #: Whether a row is a sentence of words.
    sentence: ClassVar[bool] = False
    #: Smallest and largest number of items of a row.
    min_items: ClassVar[int] = 0
    max_items: ClassVar[int] = 12

    def __init__(self, alphabet: Alphabet) -> None:
        self.alphabet = alphabet

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.alphabet.vocabulary.classes)

    @property
    def in_order(self) -> int:
        """Number of slots of an item that are written one after the other."""
        return len(self.slots) - self.at_once

    def annotated(self, fields: dict[str, Any], batch: Batch) -> Tensor:
        """Which clips, bool (B,), or steps, bool (B, T), have a row. Default: all."""
        if self.per_step:
            return batch.valid
        return torch.ones(len(batch), dtype=torch.bool, device=batch.valid.device)

    def bounds(self, slot: int, item: list[Tensor], before: list[Tensor] | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest value at a slot, and one more than the largest, (N,) each; equal where no value is allowed.

        Args:
            slot: Place in the item.
            item: Values before it in the item, (N,) each.
            before: Values of the item before that were written in order; None for the first item.
            like: Zeros, int64 (N,), to make the result of.
        """
        return like, like + self.alphabet.spans[self.slots[slot]][1]

    @abstractmethod
    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """The items of every row that is kept, at most `max_items` each."""

    @abstractmethod
    def values(self, rows: list[list[Item]], written: Written, batch: Batch) -> dict[str, Any]:
        """Values of a `Prediction` from the items of all rows."""
