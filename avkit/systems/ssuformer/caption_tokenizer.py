# SPDX-License-Identifier: Apache-2.0
"""Captions as rows of word pieces, cut to the positions of the text decoder."""

import warnings
from collections.abc import Sequence

from torch import Tensor

from avkit.batch import Vocabulary
from avkit.text.wordpiece import WordPieceTokenizer, make_wordpieces


class CaptionTokenizer:
    """Encodes true captions and decodes generated ones; counts the captions that had to be cut.

    The pieces are those of the vocabulary, or are made of its words, which gives the same pieces in every run on them.

    Args:
        vocabulary: Word pieces, or words.
        positions: Longest caption in word pieces, start and end included.
        group: Name of the group of options on the command line, for messages.

    Raises:
        ValueError: If the vocabulary has neither pieces nor words.
    """

    def __init__(self, vocabulary: Vocabulary, positions: int, group: str) -> None:
        if not vocabulary.pieces and not vocabulary.words:
            raise ValueError("Captions need words, and the dataset's vocabulary has none. Use a dataset with captions.")
        self.pieces = WordPieceTokenizer(vocabulary.pieces or make_wordpieces(vocabulary.words))
        self.positions = positions
        self.group = group
        #: Number of captions that were cut.
        self.cut = 0

    @property
    def max_pieces(self) -> int:
        """Longest caption in word pieces, without start and end."""
        return self.positions - 2

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Rows of pieces with start and end, padded, int64 (N, L); longer captions are cut with a warning."""
        rows = self.pieces.encode(texts, self.max_pieces)
        if rows.shape[1] == self.positions:
            self._count_cut(texts)
        return rows

    def decode(self, rows: Tensor) -> list[str]:
        """Captions of rows of pieces (N, L)."""
        return self.pieces.decode(rows)

    def notes(self) -> list[str]:
        """A sentence for the report if captions were cut."""
        if not self.cut:
            return []
        return [
            f"{self.cut} training captions were longer than {self.max_pieces} word pieces and were cut; "
            f"set {self.group}.positions higher to keep them."
        ]

    def _count_cut(self, texts: Sequence[str]) -> None:
        lengths = [length for length in self.pieces.count(texts) if length > self.max_pieces]
        if lengths and not self.cut:
            warnings.warn(
                f"A caption has {max(lengths)} word pieces, and {self.group}.positions {self.positions} leave room for "
                f"{self.max_pieces}: it is cut there. Set {self.group}.positions higher to keep it whole.",
                stacklevel=2,
            )
        self.cut += len(lengths)
