# SPDX-License-Identifier: Apache-2.0
"""The root folder of a dataset: finding annotation files and media where people keep them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avkit.reading.remote import list_names, url_of

#: Folders below the root in which annotation files are looked for.
_SUBFOLDERS = ("", "data", "annotations", "annotation", "metadata", "splits", "labels")


@dataclass(frozen=True)
class MediaPatterns:
    """Where the media of a clip may lie below the root.

    Patterns hold `{media}`, and the placeholders that a reader gives with `Annotation.placeholders`. The first pattern
    for which there is a file is used.

    Attributes:
        frames: Pictures: one file per step if the pattern has `{k}`; else a folder of pictures, or one picture.
        video: Videos.
        audio: Audio files.
        masks: Masks, one file per step with `{k}`.
        first: Number of the first picture and mask, for `{k}`.
    """

    frames: tuple[str, ...] = ()
    video: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    first: int = 1


class Folder:
    """A folder whose listings are read once each, so that ten thousand clips are looked for in an instant.

    Args:
        path: The root, a path or a URL.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        #: The path or URL, for messages.
        self.place = url_of(path) or str(path)
        self._listings: dict[str, frozenset[str]] = {}

    def has(self, name: str) -> bool:
        """Whether a file or folder exists, by its path relative to the root."""
        folder, _, last = name.rpartition("/")
        return last in self._list(folder)

    def find(self, *names: str) -> Path | None:
        """The first of several files that exists, as named or gzipped, in the root or a usual folder below it."""
        for name in names:
            for subfolder in _SUBFOLDERS:
                for ending in ("", ".gz"):
                    path = f"{subfolder}/{name}{ending}".lstrip("/")
                    if self.has(path):
                        return self.path / path
        return None

    def find_file(self, patterns: Iterable[str], values: Mapping[str, object]) -> str | None:
        """The path of the first pattern that exists when its placeholders are filled in."""
        for pattern in patterns:
            path = pattern.format_map(values)
            if self.has(path):
                return path
        return None

    def find_frames(self, patterns: MediaPatterns, values: Mapping[str, object], steps: int) -> str | list[str] | None:
        """The pictures of a clip.

        Args:
            patterns: Where they may lie.
            values: Values of the placeholders.
            steps: Number of steps, for patterns with a file per step.

        Returns:
            A folder, or one file per step; None where there is neither, or one of the files is missing.
        """
        for pattern in patterns.frames:
            if "{k" in pattern:
                files = numbered_files(pattern, values, range(patterns.first, patterns.first + steps))
                if all(map(self.has, files)):
                    return files
                continue
            path = pattern.format_map(values)
            if self.has(path):
                is_file = "." in pattern.rpartition("/")[2]
                return [path] if is_file else path
        return None

    def find_masks(
        self, patterns: MediaPatterns, values: Mapping[str, object], steps: Sequence[int]
    ) -> list[str] | None:
        """The masks of some steps of a clip, or None where one of them is missing."""
        for pattern in patterns.masks:
            files = numbered_files(pattern, values, [patterns.first + step for step in steps])
            if all(map(self.has, files)):
                return files
        return None

    def _list(self, folder: str) -> frozenset[str]:
        if folder not in self._listings:
            self._listings[folder] = frozenset(list_names(self.path / folder))
        return self._listings[folder]


def numbered_files(pattern: str, values: Mapping[str, object], numbers: Iterable[int]) -> list[str]:
    """The paths of a pattern whose placeholder `{k}` takes each of some numbers."""
    return [pattern.format_map({**values, "k": number}) for number in numbers]
