# SPDX-License-Identifier: Apache-2.0
"""PNGs of masks in the folders of official savers and of datasets: which clip and which step each file is of.

Layouts: `CATEGORY/CLIP/CLIP_k.png` and `CLIP/CLIP_k.png` with k from 0, as AVSBench and AVSegFormer write;
`CLIP/k.png`, also with a folder such as `masks` or `labels_semantic` between; `CLIP_k.png`; and the datasets' own, with
k from 1, or in folders that several samples share, see `mask_folders`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from avkit.errors import DataError, FileError
from avkit.scoring.formats.ids import SampleIds
from avkit.scoring.formats.mask_folders import OwnFolders

#: A file's name that ends in a number, with what stands before it; or has one number anywhere.
_LAST_NUMBER = re.compile(r"(.*?)[._-]?(\d+)")
_ONE_NUMBER = re.compile(r"(\D*)(\d+)\D*")
#: Colour maps are left out where class maps lie beside them.
_COLOURS = "labels_rgb"
_CLASSES = "labels_semantic"
#: Names of files and folders that are those of no clip.
_NO_CLIPS = {"", _COLOURS, _CLASSES, "frame", "frames", "image", "mask", "masks", "pred", "pred_masks", "gt_masks"}
#: Numbers that a message shows.
_MAX_LISTED = 12


@dataclass
class FoundMasks:
    """The masks of a folder.

    Attributes:
        files: Files of every clip by their number.
        errors: What is wrong with others.
    """

    files: dict[str, dict[int, Path]] = field(default_factory=dict)
    errors: list[FileError] = field(default_factory=list)


def find_masks(folder: Path, ids: SampleIds, folders: OwnFolders | None = None) -> FoundMasks:
    """The masks of every clip of a folder; a clip of which two files are of one frame is left out.

    Args:
        folder: The folder, which is searched with all below it.
        ids: Ids of the clips that are scored.
        folders: Folders of the dataset's own layout, which are looked at first.

    Raises:
        DataError: If there is no PNG.
    """
    paths = mask_paths(folder)
    if not paths:
        raise DataError(f"{folder} holds no PNG. Name the folder with a mask of every frame, such as CLIP/CLIP_0.png.")
    found = FoundMasks()
    doubled = set()
    meant: dict[tuple[str, ...], str | None] = {}
    for path in paths:
        try:
            names, number = _names_and_number(path, folder)
            clips = _sharing(path, folders, ids, meant)
            if clips is None:
                if names not in meant:
                    meant[names] = None
                    meant[names] = ids.find_first(names, str(path))
                clip = meant[names]
                clips = [] if clip is None else [clip]
            for clip in clips:
                _add(found.files.setdefault(clip, {}), number, path)
        except DoubledError as error:
            doubled.add(clip)
            found.errors.append(FileError(str(error)))
        except DataError as error:
            found.errors.append(FileError(str(error)))
    for clip in doubled:
        found.files.pop(str(clip), None)
    return found


def _sharing(
    path: Path, folders: OwnFolders | None, ids: SampleIds, meant: dict[tuple[str, ...], str | None]
) -> list[str] | None:
    """The clips that share the folder of a file, none for one of another split; None where its name tells."""
    if folders is None:
        return None
    clips = folders.samples_of(path)
    split = folders.split_of(path) if clips is None else None
    if split is not None:
        key = (path.parent.parent.name, path.parent.name)
        if key not in meant:
            meant[key] = None
            ids.other_splits[split] += 1
        return []
    return clips


def mask_paths(folder: Path) -> list[Path]:
    """The PNGs of a folder and of all below it, sorted."""
    files = []
    for path in sorted(folder.rglob("*.png")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        has_classes = path.parent.name == _COLOURS and (path.parent.parent / _CLASSES / path.name).exists()
        if not is_hidden and not has_classes:
            files.append(path)
    return files


def files_of_steps(
    files: Mapping[str, Mapping[int, Path]], own: Mapping[str, Mapping[int, int]]
) -> Iterator[tuple[str, dict[int, Path] | FileError]]:
    """The file of every step that is scored, by clip; an error for a clip that lacks one.

    Files are numbered by step from 0, as official savers do, or as the dataset numbers its own masks, all in the same
    way: the one by which fewer are missing.

    Args:
        files: Files of every clip by their number.
        own: For every clip the number of the dataset's own mask of each step that is scored.

    Raises:
        DataError: If both ways find all masks and differ.
    """
    by_step = _is_by_step(files, own)
    for clip, numbered in files.items():
        numbers = {step: step if by_step else number for step, number in own[clip].items()}
        lacking = [number for number in numbers.values() if number not in numbered]
        if lacking:
            example = next(iter(numbered.values()))
            yield (
                clip,
                FileError(
                    f"{example.parent}: clip {clip!r} lacks the mask of frame {_listed(lacking)}; it has "
                    f"{_listed(sorted(numbered))}. Write a mask of each of its {len(numbers)} annotated frames, "
                    "or none."
                ),
            )
        else:
            yield clip, {step: numbered[number] for step, number in numbers.items()}


def _is_by_step(files: Mapping[str, Mapping[int, Path]], own: Mapping[str, Mapping[int, int]]) -> bool:
    by_step = 0
    by_own = 0
    total = 0
    highest = 0
    last = 0
    last_own = 0
    for clip, numbered in files.items():
        by_step += sum(step in numbered for step in own[clip])
        by_own += sum(number in numbered for number in own[clip].values())
        total += len(own[clip])
        highest = max(highest, *numbered)
        last = max(last, *own[clip])
        last_own = max(last_own, *own[clip].values())
    differ = any(step != number for clip in files for step, number in own[clip].items())
    numbers_steps = last_own <= last + 1  # the dataset's numbers are those of steps too, counted from 1
    if differ and numbers_steps and by_step == by_own == total:
        example = next(iter(next(iter(files.values())).values()))
        raise DataError(
            f"{example.parent}: masks are numbered from 0 to {highest}, and clips have {last + 1} frames, so that it "
            "is not known whether 0 or 1 is the first. Number the masks of each clip from 0."
        )
    return by_step > by_own


class DoubledError(DataError):
    """Two files are of one frame."""


def _add(files: dict[int, Path], number: int, path: Path) -> None:
    other = files.setdefault(number, path)
    if other != path:
        raise DoubledError(
            f"{path}: {other} is of the same frame of the same clip. Name the folder with the masks of one run alone."
        )


def _names_and_number(path: Path, folder: Path) -> tuple[tuple[str, ...], int]:
    """Names of which one is the clip's, the likeliest first, and the number of the frame.

    Raises:
        DataError: If the name of the file has no number.
    """
    match = _LAST_NUMBER.fullmatch(path.stem) or _ONE_NUMBER.fullmatch(path.stem)
    if match is None:
        raise DataError(f"{path}: the name has no number of the frame. Name masks CLIP_0.png, CLIP_1.png, ...")
    parents = [parent.name for parent in path.parents if parent.is_relative_to(folder)]
    names = tuple(name for name in (match[1], *parents) if name.lower() not in _NO_CLIPS)
    if not names:
        raise DataError(f"{path}: neither the file nor a folder bears the id of a clip. Name masks CLIP_0.png, ...")
    return names, int(match[2])


def _listed(numbers: Iterable[int]) -> str:
    listed = [str(number) for number in numbers]
    return ", ".join(listed[:_MAX_LISTED]) + (", ..." if len(listed) > _MAX_LISTED else "")
