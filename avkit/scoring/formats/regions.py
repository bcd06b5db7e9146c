# SPDX-License-Identifier: Apache-2.0
"""Predictions for f-Music and f-Lifescene: a folder with masks and captions."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from avkit.errors import FileError
from avkit.scoring.formats.base import Format
from avkit.scoring.formats.captions import Captions
from avkit.scoring.formats.masks import MaskFolder
from avkit.scoring.predictions import PlacedRecord
from avkit.scoring.truth import Truth

#: Names of a file of captions in the folder; else there is one for each clip.
_FILES = ("captions.json", "captions.jsonl", "captions.csv", "captions.tsv", "captions.txt")


class RegionFolder(Format):
    """Masks of a folder, and captions in the same folder."""

    name = "ra-ssu-folder"
    title = "folder with masks, and with captions.json, .jsonl or .csv, or CLIP/captions.jsonl"
    tasks: ClassVar[tuple[str, ...]] = ("ra_ssu",)

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Whether a folder has both."""
        return path.is_dir() and MaskFolder.detect(path) and Captions.detect(_captions(path))

    @classmethod
    def read(cls, path: Path, truth: Truth) -> Iterator[PlacedRecord | FileError]:
        """Masks and captions of every clip that has both; an error for one that has one of them alone."""
        captions: dict[str, PlacedRecord] = {}
        for line in Captions.read(_captions(path), truth):
            if isinstance(line, FileError):
                yield line
            else:
                captions[str(line.values["id"])] = line
        for line in MaskFolder.read(path, truth):
            if isinstance(line, FileError):
                yield line
                continue
            name = str(line.values["id"])
            own = captions.pop(name, None)
            if own is None:
                yield FileError(
                    f"{line.where}: clip {name!r} has masks and no caption. Write both, or score masks alone."
                )
            else:
                yield PlacedRecord(line.where, {**line.values, **own.values})
        for name, line in captions.items():
            yield FileError(f"{line.where}: clip {name!r} has captions and no masks that can be scored. Write both.")


def _captions(folder: Path) -> Path:
    """The file of captions of a folder, or the folder itself where there is one for each clip."""
    for name in _FILES:
        if (folder / name).is_file():
            return folder / name
    return folder
