# SPDX-License-Identifier: Apache-2.0
"""Words as indices and back, for questions, prompts and captions of the small text models."""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

#: Indices of the special words.
PAD, START, END, UNKNOWN = range(4)
_SPECIAL = ["<pad>", "<start>", "<end>", "<unknown>"]
_TOKEN = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*|[^\w\s]", re.UNICODE)


def split_words(text: str) -> list[str]:
    """Lower-case words and punctuation marks of a sentence.

    Example:
        >>> split_words("A dog's bark, twice!")
        ['a', "dog's", 'bark', ',', 'twice', '!']
    """
    return _TOKEN.findall(text.lower())


def join_words(words: Sequence[str]) -> str:
    """A sentence of words, without a space before closing punctuation.

    Example:
        >>> join_words(["a", "dog's", "bark", ",", "twice", "!"])
        "a dog's bark, twice!"
    """
    return re.sub(r"\s+([,.;:!?)\]])", r"\1", " ".join(words))


def unique_words(texts: Iterable[str]) -> list[str]:
    """All different words of `texts`, sorted."""
    words: set[str] = set()
    for text in texts:
        words.update(split_words(text))
    return sorted(words)


class WordTokenizer:
    """Maps sentences to rows of word indices; indices 0 to 3 are padding, start, end and unknown.

    Args:
        words: The vocabulary in index order, without the special words.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = [*_SPECIAL, *words]
        self.index = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, texts: Sequence[str], max_tokens: int | None = None) -> Tensor:
        """Rows `<start> words <end>`, padded: int64 (N, L).

        Args:
            texts: N sentences.
            max_tokens: Maximum number of words between start and end; further words are dropped.
        """
        rows = []
        for text in texts:
            words = split_words(text)[:max_tokens]
            rows.append([START, *(self.index.get(word, UNKNOWN) for word in words), END])
        return pad_rows(rows, PAD)

    def decode(self, rows: Tensor) -> list[str]:
        """Sentences of index rows (N, L), each read up to its first `<end>`."""
        texts = []
        for row in rows.tolist():
            words = [self.words[i] for i in until(row, END) if i > UNKNOWN]
            texts.append(join_words(words))
        return texts


def pad_rows(rows: Sequence[Sequence[int]], padding: int) -> Tensor:
    """Rows of `<start> ... <end>` as one tensor, int64 (N, L); (0, 2) if there is none."""
    length = max((len(row) for row in rows), default=2)
    padded = [[*row, *[padding] * (length - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.long).reshape(len(rows), length)


def until(row: list[int], end: int) -> list[int]:
    """The part of a row before its first `end`."""
    return row[: row.index(end)] if end in row else row
