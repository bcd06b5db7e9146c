# SPDX-License-Identifier: Apache-2.0
"""Words to indices and back, for questions, prompts and captions of the small text models."""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

PAD, START, END, UNKNOWN = range(4)
_TOKEN = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*|[^\w\s]", re.UNICODE)


def split_words(text: str) -> list[str]:
    """Lower-case words and punctuation marks of a sentence.

    Example:
        >>> split_words("A dog's bark, twice!")
        ['a', "dog's", 'bark', ',', 'twice', '!']
    """
    return _TOKEN.findall(text.lower())


def join_words(words: Sequence[str]) -> str:
    """A sentence of words, with no blank before a mark that closes.

    Example:
        >>> join_words(["a", "dog's", "bark", ",", "twice", "!"])
        "a dog's bark, twice!"
    """
    return re.sub(r"\s+([,.;:!?)\]])", r"\1", " ".join(words))


def unique_words(texts: Iterable[str]) -> list[str]:
    """All different words of `texts`, sorted."""
    return sorted({word for text in texts for word in split_words(text)})


class WordTokenizer:
    """Maps sentences to rows of word indices; indices 0 to 3 are padding, start, end and unknown.

    Args:
        words: Known words in index order.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = ["<pad>", "<start>", "<end>", "<unknown>", *words]
        self.index = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, texts: Sequence[str], max_tokens: int | None = None) -> Tensor:
        """Rows `<start> words <end>`, padded: int64 (N, L). Words past `max_tokens` are dropped, the end stays."""
        rows = [[self.index.get(w, UNKNOWN) for w in split_words(text)][:max_tokens] for text in texts]
        out = torch.full((len(rows), max((len(r) for r in rows), default=0) + 2), PAD)
        for line, row in zip(out, rows, strict=True):
            line[: len(row) + 2] = torch.tensor([START, *row, END])
        return out

    def decode(self, rows: Tensor) -> list[str]:
        """Sentences of index rows (N, L), each read up to its first `<end>`."""
        texts = []
        for row in rows.tolist():
            stop = row.index(END) if END in row else len(row)
            texts.append(join_words([self.words[i] for i in row[:stop] if i > UNKNOWN]))
        return texts
