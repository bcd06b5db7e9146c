# SPDX-License-Identifier: Apache-2.0
"""Search in indexed videos: RA-SSU's masks and captions, used to find steps by what they show and sound like.

A text is matched with captions, word by word, rare words counting more; a sound or a video with the vectors.

Source:
    RA-SSU (arXiv 2603.09809), section V-B.3, which names the use and leaves the method open.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from avkit.inference.caption_index import CaptionIndex, index_captions, stem_of, stems_of
from avkit.inference.index import IndexedVideo, StoredVideo
from avkit.text.tokenizer import split_words, unique_words

#: A hit reaches as far around its best step as the score stays above this share of the best one.
_MIN_SHARE = 0.8
#: Length that vectors are taken to have at least.
_SMALL = 1e-12


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


class Index:
    """Rows of many videos, N in all, ready to be searched.

    Args:
        videos: Their rows, in memory or in the files of an index.
        caption_index: Their captions by word, where they were stored; made when a text is searched for else.
    """

    def __init__(self, videos: Sequence[IndexedVideo | StoredVideo], caption_index: CaptionIndex | None = None) -> None:
        self.videos = list(videos)
        self.captions: list[str] = []
        for video in videos:
            self.captions += video.captions
        self.bounds = np.cumsum([0, *(len(video) for video in videos)])
        self._centred: dict[str, CentredVectors] = {}
        if caption_index is not None:
            self.caption_index = caption_index

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.captions)

    @cached_property
    def caption_index(self) -> CaptionIndex:
        """Captions by their words."""
        return index_captions(self.captions)

    def _vectors_of(self, kind: str) -> "CentredVectors":
        """Vectors of all rows of a kind, made ready when they are first searched."""
        if kind not in self._centred:
            self._centred[kind] = centre([video.vectors[kind] for video in self.videos])
        return self._centred[kind]

    def score_text(self, text: str) -> Tensor:
        """How well each row's caption fits a text: cosine of weighted stems, (N,).

        Raises:
            ValueError: If the text has no words.
        """
        stems = stems_of(text)
        if not stems:
            raise ValueError(f"The text {text!r} has no words. Say what is seen and heard, such as 'a dog barking'.")
        return torch.from_numpy(self.caption_index.scores(stems))

    def score_vectors(self, kind: str, vectors: Tensor) -> Tensor:
        """How well rows fit vectors (M, width) of a query: the best cosine, about the index's mean, (N,)."""
        centred = self._vectors_of(kind)
        query = F.normalize(vectors - centred.mean, dim=-1)
        return (centred.rows @ query.T).amax(1)

    def unknown_words(self, text: str) -> list[str]:
        """Words of a text that no caption has, each with the most similar words of captions."""
        descriptions = []
        for word in dict.fromkeys(split_words(text)):
            if word.isalnum() and stem_of(word) not in self.caption_index.stems:
                similar = get_close_matches(word, self._vocabulary, n=2, cutoff=0.6)
                hint = f" (captions have {', '.join(similar)})" if similar else ""
                descriptions.append(f"{word!r}{hint}")
        return descriptions

    @cached_property
    def _vocabulary(self) -> list[str]:
        """All words of captions, sorted."""
        return unique_words(set(self.captions))

    def best_hits(self, scores: Tensor, count: int = 5) -> list[Hit]:
        """The best stretch of each of the best videos, best first, from scores of rows (N,).

        Raises:
            DataError: If the file of one of them is damaged.
        """
        parts = np.split(scores.numpy(), self.bounds[1:-1])
        best = np.argsort([-part.max() for part in parts], kind="stable")[:count]
        hits = []
        for number in best:
            video = self.videos[number]
            whole = video.read() if isinstance(video, StoredVideo) else video
            hits.append(best_stretch(whole, parts[number]))
        return hits


class CentredVectors(NamedTuple):
    """Vectors about their mean.

    Attributes:
        rows: Vectors less their mean, each of length 1, (N, width).
        mean: Mean, (width,).
    """

    rows: Tensor
    mean: Tensor


def centre(parts: Sequence[Tensor]) -> CentredVectors:
    """Vectors (N, width) of several videos about the mean of all."""
    vectors = torch.cat(list(parts))  # a copy, which may be changed
    mean = vectors.mean(0)
    vectors -= mean
    vectors /= vectors.norm(dim=-1, keepdim=True).clamp_min_(_SMALL)
    return CentredVectors(vectors, mean)


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
