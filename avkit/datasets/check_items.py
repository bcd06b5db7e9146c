# SPDX-License-Identifier: Apache-2.0
"""Reading every clip of a dataset as training reads it, and listing all faults that are met."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from avkit.batch import Item
from avkit.collate import collate
from avkit.datasets.annotation_fields import QUESTION_FIELDS
from avkit.datasets.annotations import Annotation
from avkit.datasets.clips import ClipDataset, Sample
from avkit.datasets.faults import Faults
from avkit.datasets.grid import Grid
from avkit.datasets.inputs import ClipInputs
from avkit.errors import AvkitError, DataError, MediaError

#: Number of threads that read clips.
_THREADS = 8


class BatchShape(NamedTuple):
    """What clips of one batch have in common.

    Attributes:
        hop: Seconds per step.
        offset: Seconds from the start of the clip to the start of step 0.
        visual: Shape of a step of visual features; None for pictures.
        audio: Shape of a step of audio features; None for sound.
    """

    hop: float
    offset: float
    visual: tuple[int, ...] | None
    audio: tuple[int, ...] | None

    @classmethod
    def of(cls, inputs: ClipInputs) -> "BatchShape":
        """That of what was read of a clip."""
        visual = None if inputs.visual is None else tuple(inputs.visual.shape[1:])
        audio = None if inputs.audio is None else tuple(inputs.audio.shape[1:])
        return cls(inputs.grid.hop, inputs.grid.offset, visual, audio)


class ClipCheck(NamedTuple):
    """What reading a clip brought to light.

    Attributes:
        annotation: The clip.
        faults: All faults, as texts that name file and line.
        shape: What it must have in common with others; None where it cannot be read.
    """

    annotation: Annotation
    faults: list[str]
    shape: BatchShape | None


def check_items(
    dataset: ClipDataset, annotations: Sequence[Annotation] | None = None, on_clip: Callable[[], None] | None = None
) -> list[ClipCheck]:
    """Read clips as training reads them, with all of their targets, and put each into a batch.

    Args:
        dataset: The reader that training uses.
        annotations: Clips to read, out of its annotations; all by default.
        on_clip: Called after each clip that has media of its own.
    """
    number_of = {annotation.id: number for number, annotation in enumerate(dataset.annotations)}
    numbers_of_media: dict[object, list[int]] = {}
    for annotation in dataset.annotations if annotations is None else annotations:
        numbers_of_media.setdefault(dataset.reader.key(annotation), []).append(number_of[annotation.id])
    checks: dict[int, ClipCheck] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for found in pool.map(lambda numbers: _check_clips(dataset, numbers), numbers_of_media.values()):
            checks |= found
            if on_clip is not None:
                on_clip()
    return [checks[number] for number in sorted(checks)]


def unlike_clips(checks: Sequence[ClipCheck]) -> list[str]:
    """Clips that cannot stand in one batch with most others, each with the reason."""
    shapes = Counter(check.shape for check in checks if check.shape is not None)
    if len(shapes) < 2:
        return []
    usual = shapes.most_common(1)[0][0]
    faults = []
    for check in checks:
        if check.shape is None or check.shape == usual:
            continue
        differences = []
        for name, value, usual_value in zip(BatchShape._fields, check.shape, usual, strict=True):
            if value != usual_value:
                differences.append(f"{name} {value} where most have {usual_value}")
        faults.append(f"{check.annotation.where}: {'; '.join(differences)}. Clips of one batch are alike.")
    return faults


def _check_clips(dataset: ClipDataset, numbers: Sequence[int]) -> dict[int, ClipCheck]:
    """Read the pictures and sound of clips that share them, once, and the targets of each."""
    reading = Faults(collect=True)
    inputs: ClipInputs | None = None
    with reading:
        inputs = dataset.reader.read(dataset.annotations[numbers[0]])
    return {number: _check_clip(dataset, number, inputs, reading.errors) for number in numbers}


def _check_clip(
    dataset: ClipDataset, number: int, inputs: ClipInputs | None, reading_errors: Sequence[AvkitError]
) -> ClipCheck:
    """Make the targets of one clip, and a batch of it."""
    faults = Faults(collect=True)
    faults.errors += reading_errors
    annotation = dataset.annotations[number]
    collecting = dataset.collecting(faults)
    if inputs is None:
        _check_masks(collecting, annotation)
    else:
        with faults:
            item = collecting.make_item(Sample(number, None), inputs, annotation.fields - QUESTION_FIELDS)
            _check_batch(item, annotation)
    texts = [_text(error, annotation) for error in faults.errors]
    return ClipCheck(annotation, list(dict.fromkeys(texts)), None if inputs is None else BatchShape.of(inputs))


def _check_masks(dataset: ClipDataset, annotation: Annotation) -> None:
    """Read every mask of a clip whose pictures cannot be read, whatever its length."""
    grid = Grid(1, dataset.options.hop, math.inf)
    for k in range(len(annotation.masks or ())):
        with dataset.target_builder.faults:
            dataset.target_builder.read_mask(annotation, grid, k)


def _check_batch(item: Item, annotation: Annotation) -> None:
    """Put a clip into a batch of its own, which refuses values that are not finite."""
    try:
        collate([item], "check")
    except ValueError as error:
        raise annotation.error("", str(error)) from error


def _text(error: AvkitError, annotation: Annotation) -> str:
    """A fault with the line that it belongs to, and the field that names the file where there is one."""
    text = str(error)
    if text.startswith(annotation.where) or not isinstance(error, MediaError | DataError):
        return text
    field = ""
    for key, name in (("video", annotation.video), ("picture", annotation.picture), ("audio", annotation.audio)):
        if name is not None and str(annotation.root / name) in text:
            field = key
    return str(annotation.error(field, text))
