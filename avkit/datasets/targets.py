# SPDX-License-Identifier: Apache-2.0
"""Targets by field name, made from the annotations of a clip."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avkit.batch import Targets
from avkit.datasets.annotations import Annotation, CaptionAnnotation, EventAnnotation, MaskAnnotation
from avkit.datasets.faults import RAISE, Faults
from avkit.datasets.grid import Grid, step_of, steps_of
from avkit.datasets.pixels import pixel_number, pixel_text, read_pixels, resize_nearest
from avkit.datasets.source_targets import source_targets, unknown_sources
from avkit.errors import unknown_name
from avkit.scenes.targets import box_maps
from avkit.text.joining import join_sentences

#: Classes that `class_mask` can hold, which is uint8 with 0 for background.
_MAX_CLASSES = 255
#: Difference of the logarithms of two aspect ratios from which a mask does not fit its picture.
_ASPECT_TOLERANCE = 0.02


class MaskPixels(NamedTuple):
    """What a PNG says of each pixel of a picture.

    Attributes:
        mask: 1 where something sounds, uint8 (H, W).
        classes: Class index + 1 or 0, uint8 (H, W).
        values: Pixel values, int64 (H, W).
    """

    mask: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    values: NDArray[np.int64]


class TargetBuilder:
    """Makes the targets of clips.

    Args:
        classes: Names of classes in index order.
        image_size: Height and width of masks in pixels.
        faults: Takes the faults of annotations, where it collects; by default the first one is raised.
    """

    def __init__(self, classes: list[str], image_size: int, faults: Faults = RAISE) -> None:
        self.class_indices = {name: index for index, name in enumerate(classes)}
        self.image_size = image_size
        self.faults = faults

    def collecting(self, faults: Faults) -> "TargetBuilder":
        """The same builder, which gives faults to `faults` and leaves out what is faulty."""
        builder = TargetBuilder([], self.image_size, faults)
        builder.class_indices = self.class_indices
        return builder

    def captions(self, annotation: Annotation, grid: Grid) -> Targets:
        """The field `caption`; sentences that hold at the same time are joined, see `join_sentences`."""
        captions = []
        for holding in self._captions_by_step(annotation, grid):
            captions.append(join_sentences(record.text for record in holding))
        return {"caption": captions}

    def _captions_by_step(self, annotation: Annotation, grid: Grid) -> list[list[CaptionAnnotation]]:
        """The captions that hold in each step, in the order of the file."""
        captions: list[list[CaptionAnnotation]] = [[] for _ in range(grid.steps)]
        for k, record in enumerate(annotation.captions or ()):
            with self.faults:
                for step in np.flatnonzero(steps_of(record, grid, annotation, f"captions[{k}]")):
                    captions[step].append(record)
        return captions

    def events(self, annotation: Annotation, grid: Grid) -> Targets:
        """The fields `audio_segments`, `visual_segments`, `video_labels` and `events`.

        An event in `events` is both audible and visible: it is annotated so, or it is the time that an audible and a
        visible event of one class have in common.
        """
        segments = torch.zeros(2, grid.steps, len(self.class_indices), dtype=torch.uint8)
        video_labels = torch.zeros(len(self.class_indices), dtype=torch.uint8)
        valid_events = []
        for k, event in enumerate(annotation.events or ()):
            index = None
            with self.faults:
                index = self._class_index(event.label, annotation, f"events[{k}].label")
            with self.faults:
                steps = torch.from_numpy(steps_of(event, grid, annotation, f"events[{k}]"))
                if index is None:  # its label is a fault that was collected
                    continue
                video_labels[index] = 1
                if event.modality != "visual":
                    segments[0, steps, index] = 1
                if event.modality != "audio":
                    segments[1, steps, index] = 1
                valid_events.append(event)
        for label in annotation.labels or ():
            with self.faults:
                video_labels[self._class_index(label, annotation, "labels")] = 1
        return {
            "audio_segments": segments[0],
            "visual_segments": segments[1],
            "video_labels": video_labels,
            "events": self._audio_visual_events(valid_events, grid),
        }

    def _audio_visual_events(self, events: list[EventAnnotation], grid: Grid) -> Tensor:
        """Start, end and class of each audio-visual event, float32 (N, 3), sorted."""
        end = min(grid.cut, grid.end if grid.offset else grid.steps * grid.hop)
        rows = []
        for start, stop, label in _audio_visual_spans(events):
            if start < min(stop, end):
                rows.append((start, min(stop, grid.duration, end), self.class_indices[label]))
        return torch.tensor(sorted(rows), dtype=torch.float32).reshape(-1, 3)

    def boxes(self, annotation: Annotation, grid: Grid) -> Targets:
        """The fields `boxes`, and `source`, which is 1 inside of them."""
        rows: dict[int, list[list[float]]] = {}
        for k, record in enumerate(annotation.boxes or ()):
            with self.faults:
                step = step_of(record, grid, annotation, f"boxes[{k}]")
                rows.setdefault(step, []).append(record.box)
        max_boxes = max((len(row) for row in rows.values()), default=0)
        boxes = torch.full((grid.steps, max_boxes, 4), math.nan)
        for step, row in rows.items():
            if step < grid.steps:
                boxes[step, : len(row)] = torch.tensor(row, dtype=torch.float32)
        return {"boxes": boxes, "source": torch.from_numpy(box_maps(boxes.numpy(), self.image_size))}

    def masks(self, annotation: Annotation, grid: Grid, *, sources: bool = False) -> Targets:
        """The fields `mask`, `mask_known` and, if all masks name their classes, `class_mask`.

        Of several masks in a step the one nearest to its middle is used, where its picture is taken.

        Args:
            annotation: The clip.
            grid: Its steps.
            sources: Give also the fields of sources kept apart, see `source_targets`.
        """
        size = (grid.steps, self.image_size, self.image_size)
        targets: Targets = {
            "mask": torch.zeros(size, dtype=torch.uint8),
            "mask_known": torch.zeros(grid.steps, dtype=torch.bool),
        }
        if "class_mask" in annotation.fields:
            targets["class_mask"] = torch.zeros(size, dtype=torch.uint8)
        values = {}
        for step, k in self.nearest_masks(annotation, grid).items():
            with self.faults:
                pixels = self.read_mask(annotation, grid, k)
                targets["mask"][step] = torch.from_numpy(pixels.mask)
                targets["mask_known"][step] = True
                values[step] = pixels.values
                if "class_mask" in targets:
                    targets["class_mask"][step] = torch.from_numpy(pixels.classes)
        if sources:
            captions = self._captions_by_step(annotation, grid)
            targets |= source_targets(annotation, grid, values, captions, self.image_size)
        return targets

    def nearest_masks(self, annotation: Annotation, grid: Grid) -> dict[int, int]:
        """The number of the mask to use for each step that has one."""
        nearest: dict[int, tuple[float, int]] = {}
        for k, mask in enumerate(annotation.masks or ()):
            with self.faults:
                step = step_of(mask, grid, annotation, f"masks[{k}]")
                middle = (step + 0.5) * grid.hop
                distance = 0.0 if mask.time is None else abs(mask.time - middle)
                nearest[step] = min(nearest.get(step, (math.inf, k)), (distance, k))
        return {step: k for step, (_, k) in nearest.items() if step < grid.steps}

    def unknown_masks(self, grid: Grid) -> Targets:
        """The fields of masks for a clip of which no mask is known."""
        empty = torch.zeros(grid.steps, self.image_size, self.image_size, dtype=torch.uint8)
        mask_known = torch.zeros(grid.steps, dtype=torch.bool)
        targets: Targets = {"mask": empty, "class_mask": empty, "mask_known": mask_known, "source": empty.float()}
        return targets | unknown_sources(grid, self.image_size)

    def read_mask(self, annotation: Annotation, grid: Grid, k: int) -> MaskPixels:
        """The pixels of the k-th mask, at (image_size, image_size)."""
        assert annotation.masks is not None
        record = annotation.masks[k]
        field = f"masks[{k}].file"
        values = read_pixels(annotation.root / record.file, annotation, field)
        _check_shape(values, record, grid, annotation, field)
        names = {pixel_number(text): name for text, name in (record.classes or {}).items()}
        if names and len(self.class_indices) > _MAX_CLASSES:
            raise annotation.error(
                field,
                f"{len(self.class_indices)} classes do not fit into 'class_mask', which takes {_MAX_CLASSES}. Use "
                "fewer names.",
            )
        if record.classes is not None:
            _check_values(values, names, annotation, field)
        values = resize_nearest(values, self.image_size)
        classes = np.zeros(values.shape, np.uint8)
        for value in np.unique(values).tolist():
            name = names.get(value)
            if name is not None:
                classes[values == value] = self._class_index(name, annotation, f"masks[{k}].classes") + 1
        mask = classes > 0 if record.classes is not None else _foreground(values, record)
        return MaskPixels(mask.astype(np.uint8), classes, values)

    def _class_index(self, name: str, annotation: Annotation, field: str) -> int:
        if name not in self.class_indices:
            error = unknown_name("class", name, self.class_indices)
            raise annotation.error(field, f"{error} Classes are those of the train lines.")
        return self.class_indices[name]


def _audio_visual_spans(events: list[EventAnnotation]) -> list[tuple[float, float, str]]:
    """Start, end and label of all spans in which an event is both audible and visible."""
    spans = [(event.start, event.end, event.label) for event in events if event.modality == "both"]
    visual = [event for event in events if event.modality == "visual"]
    for audible in events:
        if audible.modality != "audio":
            continue
        for visible in visual:
            if visible.label == audible.label:
                spans.append((max(audible.start, visible.start), min(audible.end, visible.end), audible.label))
    return spans


def _foreground(values: NDArray[np.int64], record: MaskAnnotation) -> NDArray[np.bool_]:
    """Which pixels of a mask without classes sound."""
    if record.foreground is None or isinstance(record.foreground, str):
        return values != 0
    return np.isin(values, [pixel_number(value) for value in record.foreground])


def _check_shape(
    values: NDArray[np.int64], record: MaskAnnotation, grid: Grid, annotation: Annotation, field: str
) -> None:
    """Refuse a mask whose aspect ratio is not that of its picture."""
    if grid.size is None:
        return
    height, width = values.shape
    picture_height, picture_width = grid.size
    if abs(math.log((width / height) / (picture_width / picture_height))) > _ASPECT_TOLERANCE:
        raise annotation.error(
            field,
            f"{record.file!r} is {width} x {height} pixels and its picture {picture_width} x {picture_height}; "
            "give a mask of the same shape.",
        )


def _check_values(values: NDArray[np.int64], names: dict[int, str | None], annotation: Annotation, field: str) -> None:
    """Refuse a mask with a pixel value that `classes` does not name."""
    present, counts = np.unique(values, return_counts=True)
    for value, count in zip(present.tolist(), counts.tolist(), strict=True):
        if value != 0 and value not in names:
            text = pixel_text(value)
            if annotation.sources is not None:
                listed = ", ".join(str(entry.source) for entry in annotation.sources) or "none"
                raise annotation.error(
                    field,
                    f"{count} pixels have the value {text}, and the sources of the clip are {listed}. Add it to "
                    "'sources' with its label, or draw the mask again.",
                )
            raise annotation.error(
                field,
                f"{count} pixels have the value {text}, which 'classes' does not name. "
                f'Add "{text}" with its class, or with null for background.',
            )
