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
    """What tokens stand for.

    Attributes:
        vocabulary: Classes, answers and words of the dataset.
        words: Tokenizer of captions.
        parts: Parts of a step in which times are written.
        bins: Parts of a side of the picture in which boxes are written.
        code: Code of masks.
        spans: First token and number of tokens of each kind.
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
        chance: Probability of each token when it was chosen, (N, L); 1 for the form's.
        first: Log-probabilities of the token after the form's, (N, vocabulary).
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
    #: Whether every step has a row of its own; otherwise every clip has one.
    per_step: ClassVar[bool] = False
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

    def annotated(self, fields: dict[str, Any], batch: Batch) -> Tensor:
        """Which clips, bool (B,), or steps, bool (B, T), have a row. Default: all."""
        if self.per_step:
            return batch.valid
        return torch.ones(len(batch), dtype=torch.bool, device=batch.valid.device)

    def bounds(
        self, slot: int, item: list[Tensor], before: list[Tensor] | None, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Smallest value at a slot, and one more than the largest, (N,) each; equal where no value is allowed.

        Args:
            slot: Place in the item.
            item: Values before it in the item, (N,) each.
            before: All values of the item before; None for the first.
            steps: Steps of the clip, (N,).
        """
        count = self.alphabet.spans[self.slots[slot]][1]
        return torch.zeros_like(steps), torch.full_like(steps, count)

    @abstractmethod
    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """The items of every row that is kept, at most `max_items` each."""

    @abstractmethod
    def values(self, rows: list[list[Item]], written: Written, batch: Batch) -> dict[str, Any]:
        """Values of a `Prediction` from the items of all rows."""
