# SPDX-License-Identifier: Apache-2.0
"""Sentences as word pieces and back, like BERT's uncased tokeniser."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from avkit.errors import FileError
from avkit.reading.hub import HubError, from_hub, hugging_face
from avkit.reading.text import read_text
from avkit.text.tokenizer import pad_rows, until

#: The special pieces, as BERT names them.
PAD_PIECE = "[PAD]"
UNKNOWN_PIECE = "[UNK]"
START_PIECE = "[CLS]"
END_PIECE = "[SEP]"
_SPECIAL = (PAD_PIECE, UNKNOWN_PIECE, START_PIECE, END_PIECE)
_FILE = "vocab.txt"


class WordPieceTokenizer:
    """Maps sentences to rows of piece indices: lower case, without accents, the longest matching piece first.

    Args:
        pieces: Pieces in index order, continuations of a word with `##` in front, the four special ones included.

    Raises:
        ValueError: If a special piece is missing, or one occurs twice.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        from tokenizers import BertWordPieceTokenizer

        self.pieces = list(pieces)
        index = {piece: i for i, piece in enumerate(self.pieces)}
        missing = [piece for piece in _SPECIAL if piece not in index]
        if missing:
            raise ValueError(
                f"The {len(self.pieces)} word pieces have no {', '.join(missing)}. Give those of an uncased BERT."
            )
        if len(index) < len(self.pieces):
            twice = next(piece for i, piece in enumerate(self.pieces) if index[piece] != i)
            raise ValueError(f"Word piece {twice!r} occurs twice; each has one index.")
        self.pad = index[PAD_PIECE]
        self.unknown = index[UNKNOWN_PIECE]
        self.start = index[START_PIECE]
        self.end = index[END_PIECE]
        self._tokenizer = BertWordPieceTokenizer(index, lowercase=True)

    def __len__(self) -> int:
        return len(self.pieces)

    def __reduce__(self) -> tuple[Any, ...]:
        return WordPieceTokenizer, (self.pieces,)

    def encode(self, texts: Sequence[str], max_tokens: int | None = None) -> Tensor:
        """Rows `[CLS] pieces [SEP]`, padded: int64 (N, L).

        Args:
            texts: N sentences.
            max_tokens: Maximum number of pieces between start and end; further pieces are dropped.
        """
        rows = []
        for pieces in self._pieces(texts):
            rows.append([self.start, *pieces[:max_tokens], self.end])
        return pad_rows(rows, self.pad)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Number of pieces of each sentence, without start and end."""
        return [len(pieces) for pieces in self._pieces(texts)]

    def _pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Indices of the pieces of each sentence, without start and end."""
        return [encoding.ids[1:-1] for encoding in self._tokenizer.encode_batch(list(texts))]

    def decode(self, rows: Tensor) -> list[str]:
        """Sentences of index rows (N, L), each read up to its first `[SEP]`."""
        return [self._tokenizer.decode(until(row, self.end), skip_special_tokens=True) for row in rows.tolist()]


def make_wordpieces(words: Iterable[str]) -> list[str]:
    """Word pieces for a dataset: each of its words whole, and all their letters to spell others.

    Args:
        words: Words of a dataset; their order does not matter.
    """
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalizer = BertNormalizer()
    splitter = BertPreTokenizer()
    whole: set[str] = set()
    for word in words:
        whole.update(part for part, _ in splitter.pre_tokenize_str(normalizer.normalize_str(word)))
    letters = sorted(set().union(*whole))
    continuations = [f"##{letter}" for letter in letters]
    return [*_SPECIAL, *dict.fromkeys([*letters, *continuations, *sorted(whole)])]


def read_wordpieces(source: str) -> list[str]:
    """Read word pieces from a file, a folder or the Hugging Face hub.

    Args:
        source: A `vocab.txt` with a piece per line, a folder with one, or a name on the Hugging Face hub such as
            `bert-base-uncased`.

    Raises:
        ValueError: If there is no such file, it is no text, or the hub cannot provide it.
    """
    path = Path(source)
    if path.is_dir():
        path = path / _FILE
    if not path.is_file():
        if path.suffix or source.startswith((".", "/")):
            raise ValueError(f"Word pieces {source} do not exist. Name a {_FILE}, or a model on the hub.")
        path = _download(source)
    try:
        lines = read_text(path).split("\n")
    except FileError as e:
        raise ValueError(f"{path} is no text in UTF-8: {e} Name a {_FILE}, one word piece per line.") from e
    if lines[-1] == "":
        lines.pop()
    return lines


def _download(model: str) -> Path:
    from huggingface_hub import hf_hub_download

    instead = f"Check the name and the network, or name a {_FILE}."
    try:
        with from_hub(f"Word pieces {model!r}", hugging_face(model), instead):
            return Path(hf_hub_download(model, _FILE))
    except HubError:
        raise
    except Exception as e:  # the hub raises many kinds: no network, no such model, no rights
        raise ValueError(
            f"Word pieces {model!r} are no file here, and the hub did not provide them: {e}. Check the name and the "
            f"network, or name a {_FILE}."
        ) from e
