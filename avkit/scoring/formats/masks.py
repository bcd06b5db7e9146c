# SPDX-License-Identifier: Apache-2.0
"""Predictions of masks as folders of PNGs: binary, as grey probabilities, or as maps of classes."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from avkit.answers.encoding import Record, encode_array
from avkit.datasets.avsbench_avss import palette_colour
from avkit.datasets.clips import ClipDataset
from avkit.datasets.pixels import Pixel, resize_nearest
from avkit.datasets.ra_ssu import RASSU
from avkit.errors import AvkitError, FileError, count_of
from avkit.scoring.formats.base import Format
from avkit.scoring.formats.listed import sample_ids
from avkit.scoring.formats.mask_files import files_of_steps, find_masks
from avkit.scoring.formats.mask_folders import OwnFolders
from avkit.scoring.formats.mask_pixels import LevelCounts, read_classes, read_grey
from avkit.scoring.predictions import PlacedRecord
from avkit.scoring.truth import Truth
from avkit.tasks.avs import Segmentation
from avkit.tasks.masks import mask_record
from avkit.tasks.ra_ssu import RegionAwareUnderstanding

#: Files of the scored steps of each clip.
Chosen = Mapping[str, Mapping[int, Path]]
#: Colours of the official palette, which has one for every class that 8 bits can name.
_COLOURS = 256
#: Highest number of a source in masks of f-Music and f-Lifescene.
_SOURCES = 32


class MaskFolder(Format):
    """A folder of PNGs, as official savers write it or in the layout of a dataset."""

    name = "mask-folder"
    title = "folder of PNGs, such as CLIP/CLIP_0.png: masks, grey probabilities, or classes by index or official colour"
    tasks: ClassVar[tuple[str, ...]] = ("avs", "ra_ssu")

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Whether it is a folder with a PNG."""
        return path.is_dir() and next(path.rglob("*.png"), None) is not None

    @classmethod
    def task_options(cls, truth: Truth) -> Mapping[str, object]:
        """No captions, where the task asks for them."""
        return {"captions": False} if isinstance(truth.task, RegionAwareUnderstanding) else {}

    @classmethod
    def read(cls, path: Path, truth: Truth) -> Iterator[PlacedRecord | FileError]:
        """The masks of every clip; a clip that lacks one, or has one that cannot be read, is an error.

        A mask of another size than the true one is resized as the official loaders resize true masks, to the nearest
        pixel.
        """
        ids = sample_ids(truth)
        found = find_masks(path, ids, OwnFolders(truth))
        yield from found.errors
        truth.notes += ids.left_out(path)
        chosen: dict[str, Mapping[int, Path]] = {}
        own = {clip: own_numbers(truth, clip) for clip in found.files}
        for clip, files in files_of_steps(found.files, own):
            if isinstance(files, FileError):
                yield files
            else:
                chosen[clip] = files
        task = truth.task
        has_classes = isinstance(task, Segmentation) and task.classes > 0 and "class_mask" in truth.fields
        read = _read_class_maps if has_classes else _read_masks
        yield from read(chosen, truth)


def own_numbers(truth: Truth, clip: str) -> dict[int, int]:
    """For each step with a true mask the number of its file in the dataset; of the step where it has no files."""
    dataset = truth.dataset
    if isinstance(dataset, ClipDataset):
        files = dataset.mask_files_of(truth.place(clip))
        return {step: int("".join(filter(str.isdigit, Path(file).stem.split("_")[-1]))) for step, file in files.items()}
    known = truth.batch([clip]).targets["mask_known"][0]
    return {step: step for step in known.nonzero()[:, 0].tolist()}


def _read_masks(chosen: Chosen, truth: Truth) -> Iterator[PlacedRecord | FileError]:
    """Masks or probabilities; all are looked at before the first is read, since one alone does not say which."""
    counts = LevelCounts(_SOURCES if isinstance(truth.dataset, RASSU) else 0)
    readable: dict[str, Mapping[int, Path]] = {}
    for clip, files in chosen.items():
        try:
            for file in files.values():
                counts.add(file, read_grey(file))
        except AvkitError as error:
            yield FileError(str(error))
        else:
            readable[clip] = files
    scale = counts.scale()
    truth.notes.append(scale.note)
    sizes = _Sizes(_mask_size(truth))
    for clip, files in readable.items():
        maps = np.stack([sizes.fit(scale.probabilities(read_grey(file))) for file in files.values()])
        yield PlacedRecord(_place(files), mask_record(clip, list(files), torch.from_numpy(maps)))
    truth.notes += sizes.notes


def _read_class_maps(chosen: Chosen, truth: Truth) -> Iterator[PlacedRecord | FileError]:
    """Classes, and as mask all that is not background."""
    colours = {}
    for index in range(_COLOURS):
        red, green, blue = palette_colour(index)
        colours[red << 16 | green << 8 | blue] = index
    count = len(truth.classes) + 1
    sizes = _Sizes(_mask_size(truth))
    for clip, files in chosen.items():
        try:
            maps = np.stack([sizes.fit(read_classes(file, colours, count)) for file in files.values()])
        except AvkitError as error:
            yield FileError(str(error))
            continue
        record: Record = mask_record(clip, list(files), torch.from_numpy(maps > 0).float())
        record["classes"] = encode_array(maps)
        yield PlacedRecord(_place(files), record)
    truth.notes += sizes.notes


class _Sizes:
    """Brings masks to the size of the true ones, and keeps the sizes that differed.

    Args:
        size: Height and width of true masks.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.others: Counter[tuple[int, ...]] = Counter()

    def fit(self, values: NDArray[Pixel]) -> NDArray[Pixel]:
        """A mask of the true size, of the nearest pixels."""
        if values.shape == (self.size, self.size):
            return values
        self.others[values.shape] += 1
        return resize_nearest(values, self.size)

    @property
    def notes(self) -> list[str]:
        """What was resized, in a sentence."""
        if not self.others:
            return []
        (height, width), _ = self.others.most_common(1)[0]
        count = count_of(sum(self.others.values()), "mask is", "masks are")
        return [
            f"{count} of another size, such as {height} x {width}, and resized to {self.size} x {self.size} by the "
            "nearest pixel, as official loaders resize true masks."
        ]


def _place(files: Mapping[int, Path]) -> str:
    return str(next(iter(files.values())).parent)


def _mask_size(truth: Truth) -> int:
    """Height and width of true masks."""
    size: int = truth.batch(truth.ids[:1]).targets["mask"].shape[-1]
    return size
