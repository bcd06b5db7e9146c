# SPDX-License-Identifier: Apache-2.0
"""Captions by their words, so that a text is compared with the rows alone that share a word with it.

A row's score is the cosine of weighted stems: count in the caption times log((N + 1) / (n + 0.5)), where n of N rows
have the stem. The weights of each stem lie one after the other with the numbers of their rows; a query adds up those of
its own stems. `benchmarks/search.py` compares it with a dense matrix and with BM25.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avkit.errors import AvkitError
from avkit.files import atomic
from avkit.reading.checksums import crc32
from avkit.reading.remote import is_there
from avkit.reading.tensors import read_tensors, write_tensors
from avkit.reading.text import parse_json
from avkit.text.tokenizer import split_words

#: Version of the stored form.
_VERSION = "avkit captions 1"


@dataclass(frozen=True)
class CaptionIndex:
    """Weights of stems in captions, N rows of them.

    Attributes:
        size: Number of rows N.
        stems: Number of each stem, which is its place in `starts`.
        starts: First entry of each stem, and the number of entries, int64 (stems + 1,).
        rows: Row of each entry, int32.
        weights: Weight of the stem in that row, whose weights have a length of 1, float32.
    """

    size: int
    stems: Mapping[str, int]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    weights: NDArray[np.float32]

    def count_of(self, stem: str) -> int:
        """Number of rows with a stem."""
        number = self.stems.get(stem)
        return 0 if number is None else int(self.starts[number + 1] - self.starts[number])

    def weight_of(self, stem: str) -> float:
        """Weight of a stem; rare stems count more."""
        return math.log((self.size + 1) / (self.count_of(stem) + 0.5))

    def scores(self, stems: Sequence[str]) -> NDArray[np.float32]:
        """Cosine of each row with a text of these stems, (N,); stems of no caption make the text longer."""
        scores = np.zeros(self.size, np.float32)
        length = 0.0
        for stem, count in Counter(stems).items():
            weight = count * self.weight_of(stem)
            length += weight**2
            number = self.stems.get(stem)
            if number is not None:
                entries = slice(self.starts[number], self.starts[number + 1])
                scores[self.rows[entries]] += np.float32(weight) * self.weights[entries]
        return scores / np.float32(max(math.sqrt(length), 1e-9))


def index_captions(captions: Sequence[str]) -> CaptionIndex:
    """Index captions; equal ones are read once.

    Args:
        captions: One per row.
    """
    numbers: dict[str, int] = {}
    counts_of: dict[str, tuple[NDArray[np.int32], NDArray[np.float32]]] = {}
    parts = []
    for caption in captions:
        if caption not in counts_of:
            counts = Counter(stems_of(caption))
            own = [numbers.setdefault(stem, len(numbers)) for stem in counts]
            counts_of[caption] = (np.array(own, np.int32), np.fromiter(counts.values(), np.float32, len(counts)))
        parts.append(counts_of[caption])
    lengths = np.array([len(own) for own, _ in parts], np.int64)
    stems = np.concatenate([own for own, _ in parts]) if parts else np.zeros(0, np.int32)
    weights = np.concatenate([count for _, count in parts]) if parts else np.zeros(0, np.float32)
    rows = np.repeat(np.arange(len(parts), dtype=np.int32), lengths)
    in_rows = np.bincount(stems, minlength=len(numbers))
    weights = weights * np.log((len(parts) + 1) / (in_rows + 0.5)).astype(np.float32)[stems]
    squares = np.bincount(rows, weights.astype(np.float64) ** 2, minlength=len(parts))
    weights /= np.maximum(np.sqrt(squares), 1e-12).astype(np.float32)[rows]
    order = np.argsort(stems, kind="stable")
    starts = np.concatenate([[0], np.cumsum(in_rows)])
    return CaptionIndex(len(parts), numbers, starts.astype(np.int64), rows[order], weights[order])


def captions_hash(captions: Sequence[str]) -> str:
    """A checksum of captions in their order, by which a stored index is known to be of them."""
    return f"{len(captions)}-{crc32(json.dumps(list(captions)).encode()):08x}"


def write_captions(path: Path, index: CaptionIndex, captions: Sequence[str]) -> None:
    """Store an index.

    Raises:
        WriteError: If it cannot be written.
    """
    tensors = {name: torch.from_numpy(vars(index)[name]) for name in ("starts", "rows", "weights")}
    facts = {"form": _VERSION, "captions": captions_hash(captions), "stems": json.dumps(list(index.stems))}
    with atomic(path) as part:
        write_tensors(part, tensors, facts)


def read_captions(path: Path, captions: Sequence[str]) -> CaptionIndex | None:
    """A stored index; None where there is none, or it is of other captions or damaged, so that it is made again."""
    if not is_there(path):
        return None
    try:
        facts, tensors = read_tensors(path)
        stems = parse_json(facts.get("stems", "[]"), str(path))
    except AvkitError:
        return None
    if facts.get("form") != _VERSION or facts.get("captions") != captions_hash(captions):
        return None
    arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in tensors.items()}
    return CaptionIndex(len(captions), {stem: number for number, stem in enumerate(stems)}, **arrays)


def stems_of(text: str) -> list[str]:
    """Stems of a text's words: `barking`, `barks` and `bark` have one stem."""
    return [stem_of(word) for word in split_words(text) if any(letter.isalnum() for letter in word)]


@cache
def stem_of(word: str) -> str:
    """The stem of a word, by Snowball's rules of English."""
    stem: str = _stemmer().stemWord(word)
    return stem


@cache
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")
