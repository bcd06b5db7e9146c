# SPDX-License-Identifier: Apache-2.0
"""Sentences to rows of word pieces and back, in the way of BERT's uncased tokeniser."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

#: Pieces with a meaning of their own, as BERT calls them.
PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
_FILE = "vocab.txt"


class WordPieceTokenizer:
    """Maps sentences to rows of piece indices: lower case, accents stripped, the longest known piece first.

    Args:
        pieces: Pieces in index order, continuations of a word with `##` in front, the four special ones among them.

    Raises:
        ValueError: If a special piece is missing, or one occurs twice.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        from tokenizers import BertWordPieceTokenizer

        self.pieces = list(pieces)
        index = {piece: i for i, piece in enumerate(self.pieces)}
        missing = [p for p in (PAD, UNKNOWN, START, END) if p not in index]
        if missing:
            raise ValueError(
                f"The {len(self.pieces)} word pieces have no {', '.join(missing)}. Give those of an uncased BERT."
            )
        if len(index) < len(self.pieces):
            twice = next(p for i, p in enumerate(self.pieces) if index[p] != i)
            raise ValueError(f"Word piece {twice!r} occurs twice; each has one index.")
        self.pad, self.unknown, self.start, self.end = (index[p] for p in (PAD, UNKNOWN, START, END))
        self._tokenizer: Any = BertWordPieceTokenizer(index, lowercase=True)

    def __len__(self) -> int:
        return len(self.pieces)

    def __reduce__(self) -> tuple[Any, ...]:
        return WordPieceTokenizer, (self.pieces,)

    def encode(self, texts: Sequence[str], max_tokens: int | None = None) -> Tensor:
        """Rows `[CLS] pieces [SEP]`, padded: int64 (N, L). Pieces past `max_tokens` are dropped, the end stays."""
        rows = [found.ids[1:-1][:max_tokens] for found in self._tokenizer.encode_batch(list(texts))]
        out = torch.full((len(rows), max((len(r) for r in rows), default=0) + 2), self.pad)
        for line, row in zip(out, rows, strict=True):
            line[: len(row) + 2] = torch.tensor([self.start, *row, self.end])
        return out

    def count(self, texts: Sequence[str]) -> list[int]:
        """Pieces of each sentence, without start and end."""
        return [len(found.ids) - 2 for found in self._tokenizer.encode_batch(list(texts))]

    def decode(self, rows: Tensor) -> list[str]:
        """Sentences of index rows (N, L), each read up to its first `[SEP]`."""
        texts = []
        for row in rows.tolist():
            stop = row.index(self.end) if self.end in row else len(row)
            texts.append(self._tokenizer.decode(row[:stop], skip_special_tokens=True))
        return texts


def make_wordpieces(words: Iterable[str]) -> list[str]:
    """Word pieces of a dataset's words: each of them whole, and all their letters to spell others with.

    Args:
        words: Words of a dataset; their order does not matter.
    """
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    plain, split = BertNormalizer(), BertPreTokenizer()
    whole = {part for word in words for part, _ in split.pre_tokenize_str(plain.normalize_str(word))}
    letters = sorted({letter for word in whole for letter in word})
    spelt = [*letters, *(f"##{letter}" for letter in letters), *sorted(whole)]
    return [PAD, UNKNOWN, START, END, *dict.fromkeys(spelt)]


def read_wordpieces(source: str) -> list[str]:
    """Word pieces by where they are kept.

    Args:
        source: A `vocab.txt` with a piece per line, a folder with one, or a name on the Hugging Face hub such as
            `bert-base-uncased`.

    Raises:
        ValueError: If there is no such file, or the hub did not give it.
    """
    path = Path(source)
    path = path / _FILE if path.is_dir() else path
    if not path.is_file():
        if path.suffix or source.startswith((".", "/")):
            raise ValueError(f"Word pieces {source} do not exist. Name a {_FILE}, or a model on the hub.")
        from huggingface_hub import hf_hub_download

        try:
            path = Path(hf_hub_download(source, _FILE))
        except Exception as e:  # the hub raises many kinds: no network, no such model, no rights
            raise ValueError(f"Word pieces {source!r} are no file here, and the hub did not give them: {e}") from e
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as e:
        raise ValueError(f"{path} is no text in UTF-8: {e}. Name a {_FILE}, one word piece per line.") from e
    return lines[:-1] if lines[-1] == "" else lines
