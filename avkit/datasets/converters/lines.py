# SPDX-License-Identifier: Apache-2.0
"""From what is known of clips to lines of a manifest, each checked as the manifest's reader does."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avkit.datasets.annotations import Annotation, FrameAnnotation, SpanAnnotation, field_error
from avkit.datasets.converters.masks import MaskPlan, areas_of
from avkit.datasets.converters.media_folder import MediaFiles, MediaFolder
from avkit.datasets.converters.moments import shapes_by_time
from avkit.datasets.converters.notes import LIST_KEYS, ClipNotes, Value
from avkit.datasets.converters.options import ImportOptions
from avkit.datasets.converters.replace import mask_name
from avkit.datasets.converters.shapes import UNNAMED, Box
from avkit.datasets.faults import Faults
from avkit.datasets.grid import Grid, step_of, steps_of
from avkit.datasets.manifest_lines import parse_line
from avkit.errors import DataError

#: Examples of missing files that an error names.
_SHOWN = 3
#: Difference of the logarithms of two aspect ratios from which a mask does not fit its picture.
_ASPECT_TOLERANCE = 0.02


@dataclass
class Lines:
    """What is to be written.

    Attributes:
        lines: Lines of the manifest.
        masks: Masks beside it.
        classes: Pixel value of each class of masks.
        frames_left_out: Annotated frames that no step keeps.
    """

    lines: list[dict[str, Value]] = field(default_factory=list)
    masks: list[MaskPlan] = field(default_factory=list)
    classes: dict[str, int] = field(default_factory=dict)
    frames_left_out: int = 0


def find_media(notes: Sequence[ClipNotes], media: MediaFolder) -> list[MediaFiles]:
    """The media files of clips.

    Raises:
        DataError: If some are not there; says how many, and names some.
    """
    files = []
    missing = {}
    for clip in notes:
        here = media.find(clip.media)
        if here is None:
            missing[clip.media] = clip.where
        else:
            files.append(here)
    if missing:
        total = len({clip.media for clip in notes})
        names = ", ".join(map(repr, list(missing)[:_SHOWN]))
        more = ", ..." if len(missing) > _SHOWN else ""
        raise DataError(
            f"{next(iter(missing.values()))}: {len(missing)} of {total} media files are not under {str(media.root)!r}, "
            f"or are pictures without a sound of the same name: {names}{more}. Name their folder with --media."
        )
    return files


def merge_clips(notes: Sequence[ClipNotes], files: Sequence[MediaFiles]) -> list[tuple[ClipNotes, MediaFiles]]:
    """Clips of which each is known once; what several files say of one media file is put together.

    Raises:
        DataError: If they contradict each other.
    """
    merged: dict[tuple[str, str, str, str], tuple[ClipNotes, MediaFiles]] = {}
    for clip, here in zip(notes, files, strict=True):
        part = (str(clip.values.get("start")), str(clip.values.get("end")))
        key = (str(here.seen.resolve()), clip.id, *part)
        if key not in merged:
            merged[key] = (clip, here)
            continue
        first, _ = merged[key]
        for name, value in clip.values.items():
            if name in LIST_KEYS and isinstance(value, list):
                for entry in value:
                    first.add_label(str(entry)) if name == "labels" else first.add(name, entry)
                first.values.setdefault(name, [])
            elif first.values.setdefault(name, value) != value:
                raise field_error(
                    clip.where, name, f"{value!r} where {first.where} says {first.values[name]!r} of the same clip."
                )
        for time, shapes in clip.frames.items():
            first.frames.setdefault(time, []).extend(shapes)
        for time, picture in clip.frame_names.items():
            first.frame_names.setdefault(time, picture)
        first.tracks += clip.tracks
        first.size = first.size or clip.size
    return list(merged.values())


def make_lines(
    clips: Sequence[tuple[ClipNotes, MediaFiles]], media: MediaFolder, out: Path, options: ImportOptions
) -> Lines:
    """Lines and masks of clips.

    Args:
        clips: What is known of each, and its files.
        media: Their folder.
        out: The manifest to be.
        options: How they are converted.

    Raises:
        DataError: At the first fault, saying how many more there are.
    """
    result = Lines()
    faults = Faults(collect=True)
    ids = _make_ids(clips, media.root)
    for number, ((clip, files), name) in enumerate(zip(clips, ids, strict=True)):
        with faults:
            line: dict[str, Value] = {"id": name}
            line |= {
                key: _relative(path, out)
                for key, path in (("video", files.video), ("picture", files.picture), ("audio", files.audio))
                if path is not None
            }
            if options.split is not None:
                line["split"] = options.split
            line |= {key: value for key, value in clip.values.items() if value is not None}
            duration = media.info(files.timed).duration
            _add_shapes(line, clip, files, media, f"{out.stem}_masks/{number + 1:05d}", result, options)
            check_line(line, clip.where, out.resolve().parent, duration, faults)
            result.lines.append(line)
    labels = {shape.label for plan in result.masks for shape in plan.shapes}
    result.classes = {label: value for value, label in enumerate(sorted(labels), 1)}
    _name_classes(result)
    if faults.errors:
        count = len(faults.errors) - 1
        more = f" {count} more faults of this kind or others." if count else ""
        raise DataError(f"{faults.errors[0]}{more} Nothing was written.")
    return result


def _make_ids(clips: Sequence[tuple[ClipNotes, MediaFiles]], root: Path) -> list[str]:
    """A name for each clip: its own, the stem of its media file, or, where several have that, more of the path."""
    stems: dict[str, int] = {}
    for _, files in clips:
        stems[files.seen.stem] = stems.get(files.seen.stem, 0) + 1
    ids = []
    for clip, files in clips:
        name = clip.id or files.seen.stem
        if not clip.id and stems[name] > 1:
            path = Path(os.path.relpath(files.seen, root)).with_suffix("")
            name = "_".join(path.parts)
            part = clip.values.get("start")
            if part is not None:
                name += f"_{part:g}" if isinstance(part, float | int) else f"_{part}"
        ids.append(name)
    return ids


def _relative(path: Path, out: Path) -> str:
    return Path(os.path.relpath(path.resolve(), out.resolve().parent)).as_posix()


def _add_shapes(
    line: dict[str, Value],
    clip: ClipNotes,
    files: MediaFiles,
    media: MediaFolder,
    prefix: str,
    result: Lines,
    options: ImportOptions,
) -> None:
    """Add boxes and masks to a line."""
    if not clip.frames and not clip.tracks:
        return
    size = media.info(files.seen).size
    if size is None:
        raise field_error(clip.where, "", f"{files.seen.name} has no pictures that boxes or masks could lie in.")
    stated = clip.size or size
    if abs(math.log(stated[1] / stated[0] * size[0] / size[1])) > _ASPECT_TOLERANCE:
        raise field_error(
            clip.where,
            "",
            f"boxes and masks are of a picture of {stated[1]} x {stated[0]} pixels, and {files.seen.name} has "
            f"{size[1]} x {size[0]}. Give the media that were annotated.",
        )
    frames = shapes_by_time(clip, media.info(files.timed).duration, options.hop)
    result.frames_left_out += sum(time not in frames for time in clip.frames)
    boxes: list[Value] = []
    masks: list[Value] = []
    for time, shapes in frames.items():
        moment = round(time, 6)
        for shape in shapes:
            if isinstance(shape, Box):
                boxes.append({"time": moment, "box": [round(corner, 6) for corner in shape.corners]})
        place = f"{clip.where}, {clip.frame_names.get(time, clip.media)!r} at {moment:g} s"
        areas = areas_of(shapes, place, options.box_only)
        if areas:
            name = mask_name(prefix, str(line["id"]), len(masks))
            masks.append({"time": moment, "file": name})
            result.masks.append(MaskPlan(name, stated, areas, place))
    if boxes:
        line["boxes"] = boxes
    if masks:
        line["masks"] = masks


def _name_classes(result: Lines) -> None:
    """Give each mask of each line its classes, where what it shows has names and no sources say them."""
    plans = {plan.name: plan for plan in result.masks}
    for line in result.lines:
        masks = line.get("masks")
        for mask in masks if isinstance(masks, list) else ():
            assert isinstance(mask, dict)
            labels = sorted({shape.label for shape in plans[str(mask["file"])].shapes})
            if labels != [UNNAMED] and "sources" not in line:
                mask["classes"] = {str(result.classes[label]): label for label in labels}


def check_line(line: dict[str, Value], where: str, root: Path, duration: float, faults: Faults) -> None:
    """Check a line as the manifest's reader does, and its times against the clip's length."""
    annotation = parse_line(json.dumps(line), where, root, faults, {})  # its masks are not written yet
    if annotation.end is not None and annotation.end > duration + 1:
        with faults:
            raise annotation.error("end", f"{annotation.end} s is after the end of the file, at {duration:.2f} s.")
    length = min(duration, annotation.end or math.inf) - (annotation.start or 0)
    if length <= 0:
        raise annotation.error("start", f"{annotation.start} s is beyond the file, which lasts {duration:.2f} s.")
    _check_times(annotation, Grid(max(1, round(length)), 1.0, length), faults)


def _check_times(annotation: Annotation, grid: Grid, faults: Faults) -> None:
    spans: dict[str, Sequence[SpanAnnotation]] = {
        "events": annotation.events or [],
        "captions": annotation.captions or [],
    }
    for key, records in spans.items():
        for k, span in enumerate(records):
            if span.end > span.start:
                with faults:
                    steps_of(span, grid, annotation, f"{key}[{k}]")
    frames: dict[str, Sequence[FrameAnnotation]] = {"boxes": annotation.boxes or [], "masks": annotation.masks or []}
    for key, places in frames.items():
        for k, place in enumerate(places):
            with faults:
                step_of(place, grid, annotation, f"{key}[{k}]")
