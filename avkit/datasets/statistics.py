# SPDX-License-Identifier: Apache-2.0
"""What a dataset's annotations hold, in the figures by which RA-SSU describes its datasets.

Types of clips, lengths, words of sentences, sources per clip, and areas of masks. Masks are counted once per step, the
one that training reads; pictures and sound are not decoded.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.datasets.annotations import Annotation, MaskAnnotation
from avkit.datasets.clips import ClipDataset
from avkit.datasets.grid import Grid
from avkit.datasets.pixels import pixel_number, read_pixels
from avkit.errors import AvkitError
from avkit.text.tokenizer import split_words


@dataclass
class DatasetStatistics:
    """Figures of annotations.

    Attributes:
        clips: Number of clips by split; of one that is in several, in the first.
        types: Number of clips by class that occurs in them.
        seconds: Length of each clip.
        words: Number of words of each sentence.
        vocabulary: Number of different words.
        sources: Number of sources of each clip: of objects in its masks, or of its classes where it has no masks.
        areas: Share of the picture that each source covers, in each step in which it does.
        masks: Number of steps with a mask.
        silent: Number of steps whose mask is empty.
        unread: What could not be read, as sentences.
    """

    clips: dict[str, int] = field(default_factory=dict)
    types: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    vocabulary: set[str] = field(default_factory=set)
    sources: list[int] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    masks: int = 0
    silent: int = 0
    unread: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The figures for JSON, distributions by mean, median and range."""
        return {
            "clips": self.clips,
            "types": dict(self.types.most_common()),
            "seconds": summary(self.seconds),
            "hours": round(sum(self.seconds) / 3600, 4),
            "sentences": len(self.words),
            "words": summary(self.words),
            "vocabulary": len(self.vocabulary),
            "sources": {str(number): count for number, count in sorted(Counter(self.sources).items())},
            "masks": self.masks,
            "silent_masks": self.silent,
            "areas": summary(self.areas),
            "unread": self.unread,
        }


def summary(values: Sequence[float]) -> dict[str, float]:
    """Mean, median, least and greatest of some values; empty where there are none."""
    if not values:
        return {}
    array = np.asarray(values, float)
    figures = {"mean": array.mean(), "median": np.median(array), "min": array.min(), "max": array.max()}
    return {name: round(float(value), 4) for name, value in figures.items()}


def dataset_statistics(
    splits: Mapping[str, ClipDataset], on_clip: Callable[[], None] | None = None
) -> DatasetStatistics:
    """Count what the annotations of a dataset hold.

    Args:
        splits: Its readers by split; a clip that is in several counts once.
        on_clip: Called after each clip.
    """
    statistics = DatasetStatistics()
    counted: set[str] = set()
    for split, dataset in splits.items():
        statistics.clips[split] = 0
        for annotation in dataset.annotations:
            if annotation.id in counted:
                continue
            counted.add(annotation.id)
            statistics.clips[split] += 1
            try:
                _add_clip(statistics, dataset, annotation)
            except AvkitError as error:
                statistics.unread.append(str(error))
            if on_clip is not None:
                on_clip()
    return statistics


def _add_clip(statistics: DatasetStatistics, dataset: ClipDataset, annotation: Annotation) -> None:
    grid = dataset.target_grid(annotation)
    completed = dataset.complete(dataset.with_pictures(annotation), grid)
    statistics.seconds.append(grid.duration)
    texts = [caption.text for caption in completed.captions or ()]
    for text in texts:
        words = split_words(text)
        statistics.words.append(len(words))
        statistics.vocabulary.update(words)
    present = _add_masks(statistics, dataset, completed, grid)
    names = completed.class_names
    if completed.masks:
        statistics.sources.append(len(present))
        shown = {name for name in present.values() if name}
        names = shown or names
    elif names:
        statistics.sources.append(len(names))
    statistics.types.update(names)


def _add_masks(
    statistics: DatasetStatistics, dataset: ClipDataset, annotation: Annotation, grid: Grid
) -> dict[int, str]:
    """Count the masks of a clip; the class of each source in them by its pixel value, empty where it has none."""
    present: dict[int, str] = {}
    for k in dataset.target_builder.nearest_masks(annotation, grid).values():
        assert annotation.masks is not None
        mask = annotation.masks[k]
        pixels = read_pixels(annotation.root / mask.file, annotation, f"masks[{k}].file")
        areas = _source_areas(pixels, mask)
        statistics.masks += 1
        statistics.silent += not areas
        for value, area in areas.items():
            statistics.areas.append(area)
            present.setdefault(value, _class_of(mask, value))
    return present


def _source_areas(pixels: NDArray[np.int64], mask: MaskAnnotation) -> dict[int, float]:
    """Share of the picture by pixel value of each source; of a mask without classes all that sounds is one source."""
    values, counts = np.unique(pixels, return_counts=True)
    shares = dict(zip(values.tolist(), (counts / pixels.size).tolist(), strict=True))
    if mask.classes is not None:
        return {value: share for value, share in shares.items() if _class_of(mask, value)}
    foreground = [value for value in shares if value]
    if isinstance(mask.foreground, list):
        wanted = {pixel_number(value) for value in mask.foreground}
        foreground = [value for value in shares if value in wanted]
    share = sum(shares[value] for value in foreground)
    return {1: share} if share else {}


def _class_of(mask: MaskAnnotation, value: int) -> str:
    """The class of a pixel value; empty for background and where a mask has no classes."""
    for text, name in (mask.classes or {}).items():
        if pixel_number(text) == value:
            return name or ""
    return ""
