# SPDX-License-Identifier: Apache-2.0
"""Layouts of AVSBench: masks of seconds as its readers find them, for the videos that they were drawn on.

The layouts hold pictures and sound and mostly no videos; a manifest names videos, so these are looked up by the names
of the clips, in `raw_videos` of the layout or under `--media`.

Source:
    OpenNLPLab/AVSBench; see `avkit.datasets.avsbench_s4`, `avsbench_ms3` and `avsbench_avss`.
"""

from pathlib import Path

import numpy as np

from avkit.datasets.annotations import Annotation, MaskAnnotation
from avkit.datasets.avsbench_avss import AVSBenchAVSS
from avkit.datasets.avsbench_ms3 import AVSBenchMS3
from avkit.datasets.avsbench_s4 import CATEGORIES, AVSBenchS4
from avkit.datasets.converters.media_folder import MediaFolder
from avkit.datasets.converters.notes import ClipNotes
from avkit.datasets.converters.options import ImportOptions
from avkit.datasets.converters.run_lengths import encode_runs
from avkit.datasets.converters.shapes import UNNAMED, Runs, check_size
from avkit.datasets.official import Official
from avkit.datasets.pixels import pixel_number, read_pixels

#: Folder of the videos, where a layout has some.
_VIDEOS = {"avsbench-s4": "s4_data/raw_videos/{split}/{category}/", "avsbench-ms3": "ms3_data/raw_videos/"}


def read_s4(path: Path, media: MediaFolder, options: ImportOptions) -> list[ClipNotes]:
    """Clips of S4 by its table; what sounds is called as AVSBench-semantic calls it.

    Raises:
        DataError: If the table is of another form, or a mask is not there.
    """
    return _read(AVSBenchS4, path)


def read_ms3(path: Path, media: MediaFolder, options: ImportOptions) -> list[ClipNotes]:
    """Clips of MS3 by its table; what sounds has no name.

    Raises:
        DataError: If the table is of another form, or a mask is not there.
    """
    return _read(AVSBenchMS3, path)


def read_avss(path: Path, media: MediaFolder, options: ImportOptions) -> list[ClipNotes]:
    """Clips of AVSBench-semantic by its table.

    Raises:
        DataError: If the table is of another form, or a mask is not there.
    """
    return _read(AVSBenchAVSS, path)


def _read(dataset: type[Official], path: Path) -> list[ClipNotes]:
    clips = []
    for split in dataset.splits:
        data = dataset(path.parent, split, find_media=False)
        data.find_masks()
        clips += [_clip(annotation, split, dataset, data.options.frame_offset) for annotation in data.annotations]
    return clips


def _clip(annotation: Annotation, split: str, dataset: type[Official], offset: float) -> ClipNotes:
    """What is known of a clip; pictures were taken at `offset` of each second."""
    folder = _VIDEOS.get(dataset.name, "").format_map(annotation.placeholders)
    clip = ClipNotes(annotation.where, f"{folder}{annotation.media}", id=annotation.id, values={"split": split})
    name = CATEGORIES.get(annotation.placeholders.get("category", ""), UNNAMED)
    for mask in annotation.masks or ():
        time = mask.seconds(1.0) + offset
        clip.frame_names[time] = mask.file
        for shape in _shapes(annotation, mask, name):
            clip.size = shape.size
            clip.add_shape(time, shape)
    return clip


def _shapes(annotation: Annotation, mask: MaskAnnotation, name: str) -> list[Runs]:
    """An area for each class in a mask; one that is empty where nothing sounds."""
    pixels = read_pixels(annotation.root / mask.file, annotation, mask.file)
    size = check_size(pixels.shape[0], pixels.shape[1], f"{annotation.root / mask.file}")
    if mask.classes is None:
        return [Runs(name, encode_runs(pixels != 0), size, by_column=False)]
    by_value = {pixel_number(text): label for text, label in mask.classes.items() if label is not None}
    shapes: list[Runs] = []
    for value in np.unique(pixels).tolist():
        if value in by_value:
            shapes.append(Runs(by_value[value], encode_runs(pixels == value), size, by_column=False))
    return shapes or [Runs(next(iter(by_value.values())), encode_runs(pixels < 0), size, by_column=False)]
