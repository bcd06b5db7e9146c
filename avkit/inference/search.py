# SPDX-License-Identifier: Apache-2.0
"""Search in indexed videos: RA-SSU's masks and captions, used to find steps by what they show and sound like.

A text is matched with captions, word by word, rare words counting more; a sound or a video with the vectors.

Source:
    RA-SSU (arXiv 2603.09809), section V-B.3, which names the use and leaves the method open.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from avkit.inference.index import VECTOR_KINDS, IndexedVideo
from avkit.text.tokenizer import split_words

#: A hit reaches as far around its best step as the score stays above this share of the best one.
_MIN_SHARE = 0.8


@dataclass
class Hit:
    """A stretch of a video that answers a query.

    Attributes:
        video: The file.
        start: Seconds.
        end: Seconds.
        score: Score of its best step.
        caption: Caption of that step.
        moment: Middle of that step in seconds.
        mask: uint8 (side, side), 1 where something sounds in that step.
    """

    video: str
    start: float
    end: float
    score: float
    caption: str
    moment: float
    mask: NDArray[np.uint8] = field(repr=False)


class CaptionVectors(NamedTuple):
    """Captions as vectors of weighted stems.

    Attributes:
        rows: Sparse (N, stems), each of length 1.
        columns: Column of each stem.
    """

    rows: Tensor
    columns: dict[str, int]


class Index:
    """Rows of many videos in memory, N in all, ready to be searched.

    Args:
        videos: Their rows.
    """

    def __init__(self, videos: Sequence[IndexedVideo]) -> None:
        self.videos = list(videos)
        self.captions: list[str] = []
        for video in videos:
            self.captions += video.captions
        self.bounds = np.cumsum([0, *(len(video) for video in videos)])
        self.vectors: dict[str, Tensor] = {}
        self.means: dict[str, Tensor] = {}
        for kind in VECTOR_KINDS:
            self.vectors[kind] = torch.cat([video.vectors[kind] for video in videos])
            self.means[kind] = self.vectors[kind].mean(0)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.captions)

    @cached_property
    def stem_counts(self) -> dict[str, int]:
        """Number of rows in which each stem occurs."""
        counts: Counter[str] = Counter()
        for caption in self.captions:
            counts.update(set(stems(caption)))
        return counts

    @cached_property
    def _caption_vectors(self) -> CaptionVectors:
        columns = {stem: column for column, stem in enumerate(self.stem_counts)}
        rows = torch.zeros(len(self), len(columns))
        for row, caption in zip(rows, self.captions, strict=True):
            for stem, count in Counter(stems(caption)).items():
                row[columns[stem]] = count * self._weight(stem)
        return CaptionVectors(F.normalize(rows, dim=1).to_sparse(), columns)

    def _weight(self, stem: str) -> float:
        """Weight of a stem; rare stems count more."""
        return math.log((len(self) + 1) / (self.stem_counts.get(stem, 0) + 0.5))

    def score_text(self, text: str) -> Tensor:
        """How well each row's caption fits a text: cosine of weighted stems, (N,).

        Raises:
            ValueError: If the text has no words.
        """
        counts = Counter(stems(text))
        if not counts:
            raise ValueError(f"The text {text!r} has no words. Say what is seen and heard, such as 'a dog barking'.")
        rows, columns = self._caption_vectors
        query = torch.zeros(len(columns))
        unknown = 0.0
        for stem, count in counts.items():
            weight = count * self._weight(stem)
            if stem in columns:
                query[columns[stem]] = weight
            else:
                unknown += weight**2
        length = math.sqrt(float(query.square().sum()) + unknown)
        scores: Tensor = (rows @ query[:, None])[:, 0] / max(length, 1e-9)
        return scores

    def score_vectors(self, kind: str, vectors: Tensor) -> Tensor:
        """How well rows fit vectors (M, width) of a query: the best cosine, about the index's mean, (N,)."""
        rows = F.normalize(self.vectors[kind] - self.means[kind], dim=-1)
        query = F.normalize(vectors - self.means[kind], dim=-1)
        return (rows @ query.T).amax(1)

    def unknown_words(self, text: str) -> list[str]:
        """Words of a text that no caption has, each with the most similar words of captions."""
        vocabulary: set[str] = set()
        for caption in self.captions:
            vocabulary.update(split_words(caption))
        descriptions = []
        for word in dict.fromkeys(split_words(text)):
            if word.isalnum() and stem_of(word) not in self.stem_counts:
                similar = get_close_matches(word, sorted(vocabulary), n=2, cutoff=0.6)
                hint = f" (captions have {', '.join(similar)})" if similar else ""
                descriptions.append(f"{word!r}{hint}")
        return descriptions

    def best_hits(self, scores: Tensor, count: int = 5) -> list[Hit]:
        """The best stretch of each of the best videos, best first, from scores of rows (N,)."""
        hits = []
        for number, video in enumerate(self.videos):
            hits.append(best_stretch(video, scores[self.bounds[number] : self.bounds[number + 1]].numpy()))
        return sorted(hits, key=lambda hit: -hit.score)[:count]


def best_stretch(video: IndexedVideo, scores: NDArray[np.float32]) -> Hit:
    """The steps around a video's best one whose scores are near its score."""
    best = int(scores.argmax())
    near = np.arange(len(scores)) == best
    if scores[best] > 0:
        near = scores >= _MIN_SHARE * scores[best]
    first = best
    while first > 0 and near[first - 1]:
        first -= 1
    last = best
    while last + 1 < len(near) and near[last + 1]:
        last += 1
    return Hit(
        video=video.video,
        start=float(video.start[first]),
        end=float(video.end[last]),
        score=float(scores[best]),
        caption=video.captions[best],
        moment=float(video.start[best] + video.end[best]) / 2,
        mask=video.masks[best].numpy(),
    )


def stems(text: str) -> list[str]:
    """Stems of a text's words: `barking`, `barks` and `bark` have one stem."""
    return [stem_of(word) for word in split_words(text) if _has_letters(word)]


def _has_letters(word: str) -> bool:
    return any(letter.isalnum() for letter in word)


def stem_of(word: str) -> str:
    """The stem of a word, by Snowball's rules of English."""
    stem: str = _stemmer().stemWord(word)
    return stem


@cache
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")


def search(
    index: Index, text: str | None = None, examples: Iterable[Mapping[str, Tensor]] = (), count: int = 5
) -> list[Hit]:
    """Search by a text, by what examples look and sound like, or both.

    Args:
        index: Where to search.
        text: What is seen and heard.
        examples: Vectors (M, width) by kind: `embed_audio(...)`, or `index_video(...).vectors`.
        count: Videos that are returned.

    Raises:
        ValueError: If there is neither a text nor an example.
    """
    scores = []
    if text is not None:
        scores.append(index.score_text(text))
    for example in examples:
        kinds = [index.score_vectors(kind, vectors) for kind, vectors in example.items()]
        scores.append(torch.stack(kinds).mean(0))
    if not scores:
        raise ValueError("Nothing is searched for. Give a text, --sound or --clip.")
    return index.best_hits(torch.stack(scores).mean(0), count)
