# SPDX-License-Identifier: Apache-2.0
"""The root of a dataset: finding annotation files and media where people keep them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Folders in which annotation files are looked for, below the root.
_ASIDE = ("", "data", "annotations", "annotation", "metadata", "splits", "labels")


@dataclass(frozen=True)
class Places:
    """Where the media of a clip may lie, below the root: patterns with `{media}` and what else a reader names.

    Attributes:
        frames: Pictures: one file per step where the pattern has `{k}`, else a folder of pictures, or the one picture.
        video: Videos.
        sound: Sound files.
        masks: Masks, one per step.
        first: Number of the first picture and mask, for `{k}`.
    """

    frames: tuple[str, ...] = ()
    video: tuple[str, ...] = ()
    sound: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    first: int = 1


class Folder:
    """A folder whose listings are read once each, so that ten thousand clips are looked for in an instant.

    Args:
        path: The root.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._listed: dict[str, frozenset[str]] = {}

    def has(self, name: str) -> bool:
        """Whether a file or folder of this name is there, relative to the root."""
        folder, _, last = name.rpartition("/")
        return last in self._list(folder)

    def find(self, *names: str) -> Path | None:
        """The first of several files that is there, as named or gzipped, in the root or a usual folder below it."""
        for name in names:
            for aside in _ASIDE:
                for ending in ("", ".gz"):
                    path = f"{aside}/{name}{ending}".lstrip("/")
                    if self.has(path):
                        return self.path / path
        return None

    def first(self, patterns: Iterable[str], names: Mapping[str, object]) -> str | None:
        """The first pattern that, filled in, is there."""
        return next((path for p in patterns if self.has(path := p.format_map(names))), None)

    def pictures(self, places: Places, names: Mapping[str, object], steps: int) -> str | list[str] | None:
        """The pictures of a clip: a folder, or one file per step; None where one of them is missing."""
        for pattern in places.frames:
            if "{k" not in pattern:
                if self.has(path := pattern.format_map(names)):
                    return [path] if "." in pattern.rpartition("/")[2] else path
                continue
            files = numbered(pattern, names, range(places.first, places.first + steps))
            if all(map(self.has, files)):
                return files
        return None

    def masks(self, places: Places, names: Mapping[str, object], steps: Sequence[int]) -> list[str] | None:
        """The masks of some steps of a clip, or None where one is missing."""
        for pattern in places.masks:
            files = numbered(pattern, names, [places.first + k for k in steps])
            if all(map(self.has, files)):
                return files
        return None

    def _list(self, folder: str) -> frozenset[str]:
        if folder not in self._listed:
            try:
                self._listed[folder] = frozenset(os.listdir(self.path / folder))  # noqa: PTH208 - names alone, and fast
            except OSError:
                self._listed[folder] = frozenset()
        return self._listed[folder]


def numbered(pattern: str, names: Mapping[str, object], numbers: Iterable[int]) -> list[str]:
    """A pattern filled in for each number `{k}`."""
    return [pattern.format_map({**names, "k": k}) for k in numbers]
