# SPDX-License-Identifier: Apache-2.0
"""AVST's question encoder: an LSTM over the words of the training questions."""

from collections.abc import Sequence
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from avkit.errors import DataError

#: Words of MUSIC-AVQA's questions in the order of the train file, behind the padding.
WORDS = [
    "How", "many", "instruments", "are", "sounding", "in", "the", "video", "What", "kind", "of", "instrument",
    "is", "leftest", "musical", "it", "did", "not", "sound", "from", "beginning", "to", "end", "Is", "on", "left",
    "louder", "than", "right", "guzheng", "types", "accordion", "always", "playing", "clarinet", "there", "a",
    "voiceover", "this", "cello", "violin", "flute", "pipa", "piano", "Which", "that", "sounds", "at", "same",
    "time", "as", "acoustic_guitar", "Where", "first", "electric_bass", "drum", "more", "rhythmic", "ukulele",
    "banjo", "saxophone", "trumpet", "erhu", "middle", "congas", "entire", "tuba", "bagpipe", "loudest", "comes",
    "xylophone", "bassoon", "suona", "second", "appeared", "performance", "rightest", "coming", "third", "last",
    "Are", "and", "makes", "before", "after", "lowest", "fourth", "longer", "fifth", "were", "heard",
    "throughout",
]  # fmt: skip
#: Number of words of the longest question of MUSIC-AVQA; shorter ones are padded to it.
MAX_WORDS = 14


class QuestionEncoder(nn.Module):
    """Encodes a question as one vector: word embeddings, then the last states of an LSTM, which reads padding too.

    Args:
        words: Words in index order, behind the padding. Those of MUSIC-AVQA are all that its questions have, so another
            word is an error; in other data, whose test split may have words that training did not, it is read as
            padding.
        width: Width D.
    """

    def __init__(self, words: Sequence[str], width: int) -> None:
        super().__init__()
        self.refuses_unknown_words = list(words) == WORDS
        self.index = {word: number for number, word in enumerate(words, start=1)}
        self.lower_index: dict[str, int] = {}
        for word, number in self.index.items():
            self.lower_index.setdefault(word.lower(), number)
        self.embed = nn.Embedding(len(words) + 1, width)
        self.recurrent = nn.LSTM(width, width, batch_first=True)
        self.out = nn.Linear(2 * width, width)

    def word_ids(self, questions: Sequence[str]) -> Tensor:
        """Numbers of words, padded with 0, int64 (B, 14), or wider for longer questions.

        Raises:
            DataError: If a word is unknown, and the words are those of MUSIC-AVQA.
        """
        rows = [[self._word_id(word, question) for word in split_question(question)] for question in questions]
        ids = torch.zeros(len(rows), max(MAX_WORDS, *map(len, rows)), dtype=torch.long)
        for line, row in zip(ids, rows, strict=True):
            line[: len(row)] = torch.tensor(row, dtype=torch.long)
        return ids

    def _word_id(self, word: str, question: str) -> int:
        """Number of a word as written, or else in lower case; 0 for an unknown one unless that is an error."""
        number = self.index.get(word, self.lower_index.get(word.lower()))
        if number is not None:
            return number
        if self.refuses_unknown_words:
            raise self._unknown_word(word, question)
        return 0

    def _unknown_word(self, word: str, question: str) -> DataError:
        """The error for a word that the training questions lack."""
        similar = get_close_matches(word.lower(), self.lower_index, 3)
        hint = f" Similar: {', '.join(similar)}." if similar else ""
        return DataError(
            f"AVST does not know the word {word!r} of {question!r}; it knows {len(self.index)} of its training "
            f"questions.{hint} Ask with known words, or use a system with a pretrained text encoder, such as tspm."
        )

    def forward(self, ids: Tensor) -> Tensor:
        """From word ids (B, L) to (B, D)."""
        _, (hidden, cell) = self.recurrent(self.embed(ids).tanh())
        return self.out(torch.cat([hidden[0], cell[0]], -1).tanh())


def split_question(question: str) -> list[str]:
    """Words of a question as AVST splits them: at blanks, without the mark at the end."""
    return question.strip().rstrip("?\uff1f.!").split()
