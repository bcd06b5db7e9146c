# SPDX-License-Identifier: Apache-2.0
"""PNGs of masks in the folders of official savers and of datasets: which clip and which step each file is of.

Layouts: `CATEGORY/CLIP/CLIP_k.png` and `CLIP/CLIP_k.png` with k from 0, as AVSBench and AVSegFormer write;
`CLIP/k.png`, also with a folder such as `masks` or `labels_semantic` between; `CLIP_k.png`; and the datasets' own, with
k from 1.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from avkit.errors import DataError
from avkit.scoring.formats.ids import SampleIds

#: A file's name that ends in a number, with what stands before it; or has one number anywhere.
_LAST_NUMBER = re.compile(r"(.*?)[._-]?(\d+)")
_ONE_NUMBER = re.compile(r"(\D*)(\d+)\D*")
#: Colour maps are left out where class maps lie beside them.
_COLOURS = "labels_rgb"
_CLASSES = "labels_semantic"


class NumberedMasks:
    """The masks of one clip.

    Attributes:
        files: Files by their number.
    """

    def __init__(self) -> None:
        self.files: dict[int, Path] = {}

    def add(self, number: int, path: Path) -> None:
        """Add a file.

        Raises:
            DataError: If there is another one of this number.
        """
        other = self.files.setdefault(number, path)
        if other != path:
            raise DataError(
                f"{path}: {other} is of the same frame of the same clip. Name the folder with the masks of one run "
                "alone."
            )


def find_masks(folder: Path, ids: SampleIds) -> dict[str, NumberedMasks]:
    """The masks of every clip of a folder.

    Args:
        folder: The folder, which is searched with all below it.
        ids: Ids of the clips that are scored.

    Raises:
        DataError: If there is no PNG, a file is of no clip, or two files are of one frame.
    """
    by_clip: dict[str, NumberedMasks] = defaultdict(NumberedMasks)
    files = mask_paths(folder)
    if not files:
        raise DataError(f"{folder} holds no PNG. Name the folder with a mask of every frame, such as CLIP/CLIP_0.png.")
    for path in files:
        prefix, number = _number(path)
        parents = [parent.name for parent in path.parents if parent.is_relative_to(folder)]
        names = [name for name in (prefix, *parents) if name]
        clip = ids.find_first(names, str(path))
        if clip is not None:
            by_clip[clip].add(number, path)
    return by_clip


def mask_paths(folder: Path) -> list[Path]:
    """The PNGs of a folder and of all below it, sorted."""
    files = []
    for path in sorted(folder.rglob("*.png")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        has_classes = path.parent.name == _COLOURS and (path.parent.parent / _CLASSES / path.name).exists()
        if not is_hidden and not has_classes:
            files.append(path)
    return files


def masks_of_steps(
    masks: Mapping[str, NumberedMasks], steps: Mapping[str, Sequence[int]], total: int, usual_first: int
) -> dict[str, list[Path]]:
    """The file of every step that is scored.

    Frames are counted from 0 or from 1, the same for all clips: from 0 where some file is numbered so, else in the way
    by which fewer masks are missing.

    Args:
        masks: Masks by clip.
        steps: Steps that are scored by clip.
        total: Steps of the longest clip.
        usual_first: First number of the dataset's own masks.

    Raises:
        DataError: If a clip lacks masks, or has more than `total`.
    """
    first = _first_number(masks, steps, usual_first)
    chosen = {}
    for clip, numbered in masks.items():
        files = numbered.files
        lacking = [step + first for step in steps[clip] if step + first not in files]
        if lacking:
            example = next(iter(files.values()))
            raise DataError(
                f"{example.parent}: clip {clip!r} lacks the mask of frame {_listed(lacking)}; it has "
                f"{_listed(sorted(files))}. Write a mask of each of its {len(steps[clip])} annotated frames, or none."
            )
        beyond = [path for number, path in files.items() if number - first >= total]
        if beyond:
            raise DataError(f"{beyond[0]}: clip {clip!r} has {total} frames, numbered from {first}.")
        chosen[clip] = [files[step + first] for step in steps[clip]]
    return chosen


def _first_number(masks: Mapping[str, NumberedMasks], steps: Mapping[str, Sequence[int]], usual: int) -> int:
    present = {0: 0, 1: 0}
    for clip, numbered in masks.items():
        if 0 in numbered.files:
            return 0
        for first in present:
            present[first] += sum(step + first in numbered.files for step in steps[clip])
    if present[0] == present[1]:
        return usual
    return 0 if present[0] > present[1] else 1


def _number(path: Path) -> tuple[str, int]:
    """What stands before the number of a file's name, and the number.

    Raises:
        DataError: If there is none.
    """
    match = _LAST_NUMBER.fullmatch(path.stem) or _ONE_NUMBER.fullmatch(path.stem)
    if match is None:
        raise DataError(f"{path}: the name has no number of the frame. Name masks CLIP_0.png, CLIP_1.png, ...")
    return match[1], int(match[2])


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in numbers)
