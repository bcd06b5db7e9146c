# SPDX-License-Identifier: Apache-2.0
"""Labels that exist already, as items: those in the folders of `avkit build`, and those of a manifest."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avkit.annotation.colours import colour_of
from avkit.annotation.folder import Folder, LabelledClip
from avkit.annotation.labels import sounding_steps
from avkit.annotation.rows import Change
from avkit.annotation.values import MAX_OBJECTS, ClipShape, Key, join_spans, mask_value
from avkit.datasets.annotations import Annotation, EventAnnotation, MaskAnnotation
from avkit.datasets.json_records import JsonRecord
from avkit.datasets.manifest_lines import read_manifest
from avkit.datasets.pixels import pixel_number, read_pixels, resize_nearest
from avkit.datasets.ra_ssu import read_sentences
from avkit.errors import DataError
from avkit.reading.text import read_json

#: Who made what was taken over.
AUTHOR = "taken over"


def take_over_corpus(folder: Folder) -> int:
    """Take over masks and sentences of clips of `avkit build` that have some and no labels here; says how many.

    Raises:
        DataError: If a file is of another form.
    """
    if folder.corpus is None:
        return 0
    labelled = folder.store.newest_of()
    count = 0
    for clip in folder.clips.values():
        place = clip.path.parent
        if clip.number in labelled or not ((place / "masks").is_dir() or (place / "captions.jsonl").is_file()):
            continue
        _store(folder, clip, _corpus_changes(folder, clip))
        count += 1
    return count


def _corpus_changes(folder: Folder, clip: LabelledClip) -> list[Change]:
    assert folder.corpus is not None
    shape = folder.shape(clip)
    meta = JsonRecord(read_json(clip.path.parent / "meta.json"), str(clip.path.parent / "meta.json"), "It has sources")
    names = {}
    for values in meta.items("sources"):
        record = JsonRecord(values, meta.where, "A source has source and label")
        names[record.whole("source")] = record.text("label")
    annotation = Annotation(id=clip.name, where=str(clip.path), root=clip.path.parent)
    maps: dict[int, NDArray[np.int64]] = {}
    distances: dict[int, float] = {}
    for path in sorted((clip.path.parent / "masks").glob("*.png")):
        if not re.fullmatch(r"\d+", path.stem):
            continue
        time = int(path.stem) / folder.corpus.fps + 1e-6
        step = int(time / folder.hop)
        distance = abs(time - (step + 0.5) * folder.hop)
        if step < shape.steps and distance < distances.get(step, np.inf):
            distances[step] = distance
            maps[step] = resize_nearest(read_pixels(path, annotation, path.name), shape.size)
    owners = {step: {number: number for number in names} for step in maps}
    changes = _object_changes(names, owners, maps, {}, folder.hop, shape)
    for sentence in read_sentences(clip.path.parent):
        step = min(round(sentence.frame / folder.corpus.fps / folder.hop), shape.steps - 1)
        changes.append(Change(Key("sentence", sentence.source or 0, step), {"text": sentence.text}, None))
    return changes


def take_over_manifest(folder: Folder, path: Path) -> int:
    """Take over the lines of a manifest for clips that have no labels here; says for how many.

    Each pixel value of a line's masks, or each class where they name other classes by one value, becomes an object. Its
    audible events say when it sounds: those of its `source`; of those without one, those of its class in which a mask
    shows it. Where it has none, the steps in which its masks show it do. Of several masks in a step the one nearest to
    its middle is taken.

    Raises:
        DataError: If the manifest has a fault, or none of its videos is in the folder.
    """
    lines = read_manifest(path, path.parent)
    clips = {clip.path.resolve(): clip for clip in folder.clips.values()}
    labelled = folder.store.newest_of()
    matching = 0
    count = 0
    for line in lines:
        clip = clips.get((line.root / line.video).resolve()) if line.video else None
        if clip is None:
            continue
        matching += 1
        if clip.number in labelled or line.start or line.end is not None:
            continue
        _store(folder, clip, _line_changes(folder, clip, line))
        count += 1
    if not matching:
        raise DataError(f"{path}: none of its videos is in {folder.root}. Name the folder of its videos.")
    return count


def _line_changes(folder: Folder, clip: LabelledClip, line: Annotation) -> list[Change]:
    """What a line of a manifest says."""
    shape = folder.shape(clip)
    objects = _objects_of(line)
    maps: dict[int, NDArray[np.int64]] = {}
    owners: dict[int, dict[int, int]] = {}
    for step, k in _nearest_masks(line, folder.hop, shape.steps).items():
        mask = (line.masks or [])[k]
        pixels = read_pixels(line.root / mask.file, line, f"masks[{k}].file")
        maps[step] = resize_nearest(pixels if mask.classes else _foreground(pixels, mask), shape.size)
        owners[step] = objects.owners(_classes_of(mask))
    shown = _steps_shown(objects, owners, maps)
    spans: dict[int, list[list[float]]] = {}
    for event in line.events or ():
        if event.modality == "visual":
            continue
        span = [event.start, min(event.end, shape.duration)]
        for number in objects.sounding(event, shown, folder.hop):
            spans.setdefault(number, []).append(span)
    changes = _object_changes(objects.names, owners, maps, spans, folder.hop, shape)
    return [*changes, *_caption_changes(line, objects.of_value, folder.hop, shape)]


class _Objects:
    """The objects of a line.

    Attributes:
        names: Their classes by number.
        of_value: Number by pixel value, where each value is one object in all masks.
        of_class: Numbers of the objects of each class.
    """

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.of_value: dict[int, int] = {}
        self.of_class: dict[str, list[int]] = {}

    def add(self, name: str, number: int | None = None) -> int:
        """A new object; returns its number, the next that is free where none is given."""
        number = number or next(k for k in count(1) if k not in self.names)
        self.names[number] = name
        self.of_class.setdefault(name, []).append(number)
        return number

    def owners(self, classes: Mapping[str, str | None]) -> dict[int, int]:
        """Number of the object of each pixel value of a mask, by the classes that it names."""
        owners = {}
        for text, name in classes.items():
            if name is not None:
                value = pixel_number(text)
                owners[value] = self.of_value[value] if value in self.of_value else self.of_class[name][0]
        return owners

    def sounding(self, event: EventAnnotation, shown: Mapping[int, set[int]], hop: float) -> list[int]:
        """The objects that an event is of: its source; else those of its class that masks show then, else all of it."""
        if event.source is not None and event.source in self.of_value:
            return [self.of_value[event.source]]
        numbers = self.of_class[event.label]
        during = set(range(int(event.start / hop + 1e-6), math.ceil(min(event.end, 1e9) / hop - 1e-6)))
        return [number for number in numbers if shown.get(number, set()) & during] or numbers


def _objects_of(line: Annotation) -> _Objects:
    """The objects of a line: its pixel values where each names one class, else the classes; then those of events alone.

    A pixel value keeps its number where objects may have it.
    """
    names: dict[int, set[str]] = {entry.source: {entry.label} for entry in line.sources or ()}
    for mask in line.masks or ():
        for text, name in _classes_of(mask).items():
            if name is not None:
                names.setdefault(pixel_number(text), set()).add(name)
    objects = _Objects()
    if all(len(members) == 1 for members in names.values()):
        for value in sorted(names, key=lambda value: (value > MAX_OBJECTS, value)):
            number = value if 0 < value <= MAX_OBJECTS else None
            objects.of_value[value] = objects.add(min(names[value]), number)
    wanted: set[str] = set().union(*names.values(), (event.label for event in line.events or ()))
    for name in sorted(wanted - set(objects.of_class)):
        objects.add(name)
    return objects


def _nearest_masks(line: Annotation, hop: float, steps: int) -> dict[int, int]:
    """Number of the mask of each step that has some: the one nearest to its middle, as in training."""
    nearest: dict[int, tuple[float, int]] = {}
    for k, mask in enumerate(line.masks or ()):
        step = int(mask.seconds(hop) / hop + 1e-6)
        distance = 0.0 if mask.time is None else abs(mask.time - (step + 0.5) * hop)
        nearest[step] = min(nearest.get(step, (math.inf, k)), (distance, k))
    return {step: k for step, (_, k) in nearest.items() if step < steps}


def _steps_shown(
    objects: _Objects, owners: Mapping[int, Mapping[int, int]], maps: Mapping[int, NDArray[np.int64]]
) -> dict[int, set[int]]:
    """Steps in which masks show each object."""
    shown: dict[int, set[int]] = {number: set() for number in objects.names}
    for step, pixels in maps.items():
        for value in np.unique(pixels).tolist():
            if value in owners[step]:
                shown[owners[step][value]].add(step)
    return shown


def _classes_of(mask: MaskAnnotation) -> Mapping[str, str | None]:
    """Classes of a mask's pixel values; what sounds is called `object` where it has none."""
    return mask.classes or {"1": "object"}


def _foreground(pixels: NDArray[np.int64], mask: MaskAnnotation) -> NDArray[np.int64]:
    """1 where a mask without classes sounds, else 0."""
    if isinstance(mask.foreground, list):
        return np.isin(pixels, [pixel_number(value) for value in mask.foreground]).astype(np.int64)
    return (pixels != 0).astype(np.int64)


def _caption_changes(line: Annotation, owners: Mapping[int, int], hop: float, shape: ClipShape) -> list[Change]:
    """Sentences about all that sounds and about single sources, each until its end.

    Args:
        line: The clip.
        owners: Number of the object of each pixel value.
        hop: Seconds per step.
        shape: Of the clip.
    """
    texts: dict[tuple[int, int], str] = {}
    for caption in sorted(line.captions or (), key=lambda caption: caption.start):
        source = owners.get(caption.source, 0) if caption.source is not None else 0
        texts[source, min(round(caption.start / hop), shape.steps - 1)] = caption.text
        after = round(min(caption.end, shape.duration) / hop)
        if after < shape.steps:
            texts.setdefault((source, after), "")
    return [Change(Key("sentence", source, step), {"text": text}, None) for (source, step), text in texts.items()]


def _object_changes(
    objects: dict[int, str],
    owners: dict[int, dict[int, int]],
    maps: dict[int, NDArray[np.int64]],
    spans: dict[int, list[list[float]]],
    hop: float,
    shape: ClipShape,
) -> list[Change]:
    """Objects, their masks and when they sound.

    Args:
        objects: Names by number.
        owners: Number of the object of each pixel value, by step.
        maps: Pixel values (H, W) by step.
        spans: When objects sound, by number; steps with masks where it has none.
        hop: Seconds per step.
        shape: Of the clip.
    """
    changes = []
    for number, name in objects.items():
        changes.append(Change(Key("object", number, 0), {"name": name, "colour": colour_of(number)}, None))
        masks: dict[int, NDArray[np.bool_]] = {}
        for step, pixels in maps.items():
            masks[step] = np.isin(pixels, [value for value, owner in owners[step].items() if owner == number])
        shown = [[step * hop, min((step + 1) * hop, shape.duration)] for step, mask in masks.items() if mask.any()]
        sounding = join_spans(spans.get(number) or shown)
        if sounding:
            changes.append(Change(Key("spans", number, 0), {"spans": sounding}, None))
        heard = sounding_steps([(start, end) for start, end in sounding], shape.steps, hop)
        for step, mask in masks.items():
            if mask.any() or heard[step]:  # an object that is silent is in no mask, be it in view or not
                changes.append(Change(Key("mask", number, step), mask_value(mask), None))
    return changes


def _store(folder: Folder, clip: LabelledClip, changes: Sequence[Change]) -> None:
    if changes:
        folder.store.edit(clip.number, AUTHOR, changes, folder.shape(clip))
