# SPDX-License-Identifier: Apache-2.0
"""Which sample an id in a file of others means: as it is listed, or as people write it, but never one of several."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from avkit.errors import DataError, count_of

#: Endings of file names that people leave on ids.
_ENDINGS = re.compile(r"\.(mp4|mkv|webm|avi|mov|wav|mp3|flac|m4a|png|jpg|jpeg|npy|npz|json|txt)$", re.IGNORECASE)
#: Numbers behind an id: number of the part, start, start and end; in seconds or milliseconds.
_NUMBERS = re.compile(r"(?:_\d+(?:\.\d+)?)*$")
#: A YouTube id, which may itself hold '_' and end in digits, alone or with numbers behind it.
_YOUTUBE = re.compile(r"([A-Za-z0-9_-]{11})((?:_\d+(?:\.\d+)?)*)")
#: Unknown ids of which the nearest one is looked for, which takes long among thousands.
_MAX_NEAREST = 5
#: Samples that an error names.
_MAX_NAMED = 3


@dataclass(frozen=True)
class _Parts:
    """An id taken apart.

    Attributes:
        head: What is never left out, such as the id of a YouTube video.
        numbers: Numbers behind it.
        row: Number of the row of an annotation file, where an id has one (`VIDEO#12`).
    """

    head: str
    numbers: tuple[float, ...]
    row: str

    def fits(self, other: "_Parts") -> bool:
        """Whether both may mean one sample: what only one of them states does not count."""
        if self.row and other.row and self.row != other.row:
            return False
        shared = min(len(self.numbers), len(other.numbers))
        return self.numbers[:shared] == other.numbers[:shared]


class SampleIds:
    """The ids of a list of samples, found by what people write.

    An id is taken as it stands; without folders and file ending; or with numbers (part, start, end) left out or added.
    More than one sample that fits is an error. Ids of other splits are left out and counted, since files of authors
    hold several splits.

    Args:
        ids: Ids of the list.
        title: What they are of, such as `AVE, test`.
        others: Gives the ids of other splits, by split; asked only where an id is not in the list.

    Attributes:
        other_splits: How many ids of each other split were asked for.
    """

    def __init__(
        self, ids: Iterable[str], title: str, others: Callable[[], Mapping[str, Iterable[str]]] | None = None
    ) -> None:
        self.title = title
        self._ids = dict.fromkeys(ids)
        self._by_head = _by_head(self._ids)
        self._list_others = others
        self._unknown = 0
        self.other_splits: Counter[str] = Counter()

    @cached_property
    def _others(self) -> dict[str, "SampleIds"]:
        listed = {} if self._list_others is None else self._list_others()
        return {split: SampleIds(names, split) for split, names in listed.items()}

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        """The ids in the order of the list."""
        return iter(self._ids)

    def find(self, written: str, where: str) -> str | None:
        """The id of the sample that is meant; None for one of another split.

        Args:
            written: What stands in the file.
            where: File and line, for messages.

        Raises:
            DataError: If it means none, or may mean several.
        """
        return self.find_first([written], where)

    def find_first(self, names: Sequence[str], where: str) -> str | None:
        """As `find`, where one of several names is the id, such as that of a file or of a folder above it.

        Names that stand in a list as they are go before all others.
        """
        for written in names:
            exact = self._exact(written)
            if exact is not None:
                return exact
            for split, samples in self._others.items():
                if samples._exact(written) is not None:
                    self.other_splits[split] += 1
                    return None
        for written in names:
            candidates = self.candidates(written)
            if len(candidates) > 1:
                raise DataError(
                    f"{where}: id {written!r} may mean {len(candidates)} samples of {self.title}: "
                    f"{_listed(candidates)}. Write the whole id."
                )
            if candidates:
                return candidates[0]
            for split, samples in self._others.items():
                if samples.candidates(written):
                    self.other_splits[split] += 1
                    return None
        raise DataError(f"{where}: id {names[0]!r} is none of {self.title}.{self._nearest(names[0])}")

    def left_out(self, path: Path) -> list[str]:
        """What was left out of a file because it is of another split, in one sentence for each split."""
        sentences = []
        for split, count in sorted(self.other_splits.items()):
            ids = count_of(count, "id is", "ids are")
            sentences.append(f"{path}: {ids} of split {split!r} and left out, since {self.title} is scored.")
        return sentences

    def has(self, name: str) -> bool:
        """Whether an id stands in the list, or in that of another split, as it is."""
        return name in self._ids or any(samples.has(name) for samples in self._others.values())

    def candidates(self, written: str) -> list[str]:
        """Samples that an id may mean, where it is written in another way than in the list."""
        parts = _take_apart(bare_name(written))
        return [name for name, own in self._by_head.get(parts.head, ()) if own.fits(parts)]

    def _exact(self, written: str) -> str | None:
        for name in (written, written.strip(), bare_name(written)):
            if name in self._ids:
                return name
        return None

    def _nearest(self, written: str) -> str:
        self._unknown += 1
        if self._unknown > _MAX_NEAREST:
            return ""
        near = get_close_matches(bare_name(written), self._ids, n=1, cutoff=0.5)
        if near:
            return f" The nearest is {near[0]!r}."
        return f" Its ids look like {next(iter(self._ids))!r}." if self._ids else ""


def bare_name(written: str) -> str:
    """An id without blanks, folders and the ending of a file."""
    name = re.split(r"[/\\]", written.strip())[-1]
    return _ENDINGS.sub("", name)


def _by_head(ids: Iterable[str]) -> dict[str, list[tuple[str, _Parts]]]:
    by_head: dict[str, list[tuple[str, _Parts]]] = defaultdict(list)
    for name in ids:
        parts = _take_apart(name)
        by_head[parts.head].append((name, parts))
    return by_head


def _take_apart(name: str) -> _Parts:
    body, _, row = name.partition("#")
    youtube = _YOUTUBE.fullmatch(body)
    if youtube is not None:
        head, tail = youtube.groups()
    else:
        start = _NUMBERS.search(body)
        cut = len(body) if start is None else start.start()
        head = body[:cut] or body
        tail = body[cut:] if cut else ""
    numbers = [float(text) for text in tail.split("_") if text]
    return _Parts(head, tuple(numbers), row)


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_MAX_NAMED])
    return f"{shown}, ..." if len(names) > _MAX_NAMED else shown
