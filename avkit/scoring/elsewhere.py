# SPDX-License-Identifier: Apache-2.0
"""Ids in a file that are none of the split that is scored: of which split or release they are, or which is nearest."""

from collections import Counter
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from avkit.datasets.official import Official
from avkit.errors import DataError, count_of
from avkit.scoring.truth import Truth

#: Unknown ids of which the nearest one is looked for, which takes long among ten thousand.
_MAX_NEAREST = 5


class ForeignIds:
    """Counts ids by the list that they are of.

    Args:
        truth: The samples that are scored.
    """

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self._counts: Counter[str] = Counter()
        self._unknown = 0

    def add(self, name: str, where: str) -> str:
        """Count an id; a fault in words where it is of no list."""
        for words, ids in self._lists.items():
            if name in ids:
                self._counts[words] += 1
                return ""
        self._unknown += 1
        problem = f"{where}: id {name[:60]!r} is none of {self.truth.title}"
        if self._unknown > _MAX_NEAREST:
            return f"{problem}."
        near = get_close_matches(name[:60], self.truth.ids, n=1, cutoff=0.5)
        if near:
            return f"{problem}. The nearest is {near[0]!r}."
        return f"{problem}. Its ids look like {self.truth.ids[0]!r}."

    def summary(self, path: str | Path) -> list[str]:
        """Of which other lists ids are, one sentence each."""
        sentences = []
        for words, count in self._counts.most_common():
            ids = count_of(count, "id is that", "ids are those")
            sentences.append(f"{path}: {ids.replace(str(count), f'{count:,}', 1)} of {words}.")
        return sentences

    @cached_property
    def _lists(self) -> dict[str, frozenset[str]]:
        """Ids of the other splits and releases whose lists are there, by words for them."""
        dataset = self.truth.dataset
        if not isinstance(dataset, Official):
            return {}
        lists: dict[str, frozenset[str]] = {}
        for release in (dataset.release, *dataset.releases):
            for split in dataset.splits:
                if (release, split) == (dataset.release, dataset.split) or (split == dataset.listed_split):
                    continue
                words = f"split {split!r} (--split {split})"
                if release != dataset.release:
                    words = f"split {split!r} of release {release!r} (--release {release})"
                ids = _ids_of(dataset, split, release)
                if ids and words not in lists:
                    lists[words] = ids
        return lists


def other_counts(truth: Truth, entries: int) -> list[str]:
    """Of which other list a file has as many entries as there are samples, in a sentence each."""
    dataset = truth.dataset
    if not isinstance(dataset, Official) or entries == dataset.official_count:
        return []
    sentences = []
    for release, splits in dataset.counts.items():
        for split, count in splits.items():
            if count == entries:
                sentences.append(f"the file has {entries:,} entries, as split {split!r} of release {release!r} has.")
    return sentences


def _ids_of(dataset: Official, split: str, release: str) -> frozenset[str]:
    """Ids of a list; none where it is not on disk."""
    try:
        other = type(dataset)(dataset.root.path, split, release=release, find_media=False)
    except DataError:
        return frozenset()
    return frozenset(other.sample_id(index) for index in range(len(other)))
