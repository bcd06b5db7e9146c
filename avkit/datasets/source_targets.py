# SPDX-License-Identifier: Apache-2.0
"""Targets of sources kept apart: a mask and a sentence for each source and step of a clip."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from avkit.batch import Targets
from avkit.datasets.annotations import Annotation, CaptionAnnotation
from avkit.datasets.grid import Grid
from avkit.datasets.pixels import pixel_number
from avkit.text.joining import join_sentences


def source_targets(
    annotation: Annotation,
    grid: Grid,
    values: Mapping[int, NDArray[np.int64]],
    captions: Sequence[Sequence[CaptionAnnotation]],
    size: int,
) -> Targets:
    """The fields `source_mask`, `source_known` and `source_caption` of a clip.

    A source is a pixel value of the masks that is not background: each of `sources` where the clip has them, else each
    value that occurs in a mask or in a caption. Sources with a caption come first, in the order of the captions, the
    others after them by value; so what is said of the sources, joined, is the field `caption`. Of a clip with one
    source, sentences about all that sounds are about this source where it sounds.

    Args:
        annotation: The clip, whose masks all name their classes.
        grid: Its steps.
        values: Pixel values (size, size) of the mask of each annotated step.
        captions: The captions that hold in each step.
        size: Height and width of masks in pixels.
    """
    numbers = _source_numbers(annotation, values)
    masks = np.zeros((grid.steps, len(numbers), size, size), np.uint8)
    known = np.zeros((grid.steps, len(numbers)), np.bool_)
    for step, pixels in values.items():
        masks[step] = pixels == np.array(numbers, np.int64)[:, None, None]
        known[step] = True
    silent = known & ~masks.any((2, 3))
    sentences = []
    for step, holding in enumerate(captions):
        of_sources = [_texts_of(number, holding) for number in numbers]
        if len(numbers) == 1 and not silent[step, 0]:
            of_sources = [[caption.text for caption in holding]]
        sentences.append([join_sentences(texts) for texts in of_sources])
    return {
        "source_mask": torch.from_numpy(masks),
        "source_known": torch.from_numpy(known),
        "source_caption": sentences,
    }


def unknown_sources(grid: Grid, size: int) -> Targets:
    """The same fields of a clip of which no source is known."""
    return {
        "source_mask": torch.zeros(grid.steps, 0, size, size, dtype=torch.uint8),
        "source_known": torch.zeros(grid.steps, 0, dtype=torch.bool),
        "source_caption": [[] for _ in range(grid.steps)],
    }


def _source_numbers(annotation: Annotation, values: Mapping[int, NDArray[np.int64]]) -> list[int]:
    """Pixel values of the sources in their order."""
    numbers = dict.fromkeys(caption.source for caption in annotation.captions or () if caption.source is not None)
    if annotation.sources is not None:
        others = {entry.source for entry in annotation.sources}
    else:
        others = _drawn_sources(annotation, values)
    return list(numbers | dict.fromkeys(sorted(others)))


def _drawn_sources(annotation: Annotation, values: Mapping[int, NDArray[np.int64]]) -> set[int]:
    """Pixel values in masks that are not background."""
    sounding: set[int] = set()
    for mask in annotation.masks or ():
        sounding |= {pixel_number(text) for text, name in (mask.classes or {}).items() if name is not None}
    drawn: set[int] = set()
    for pixels in values.values():
        drawn |= set(np.unique(pixels).tolist())
    return drawn & sounding


def _texts_of(number: int, captions: Sequence[CaptionAnnotation]) -> list[str]:
    return [caption.text for caption in captions if caption.source == number]
