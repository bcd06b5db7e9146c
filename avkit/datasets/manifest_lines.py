# SPDX-License-Identifier: Apache-2.0
"""The lines of a manifest, checked one by one before any media is read."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from avkit.datasets.annotations import Annotation, FrameAnnotation, SpanAnnotation
from avkit.datasets.class_names import strip_names
from avkit.datasets.faults import RAISE, Faults
from avkit.datasets.manifest_schema import SCHEMA, check_value
from avkit.errors import DataError, FileError
from avkit.reading.boundary import reason_of
from avkit.reading.remote import is_file, url_of
from avkit.reading.text import parse_json, read_text


def read_manifest(
    path: Path, root: Path, faults: Faults | None = None, missing: dict[str, str] | None = None
) -> list[Annotation]:
    """Read every line of a manifest.

    Args:
        path: The JSON Lines file.
        root: Folder of the paths in it.
        faults: Takes the faults of all lines, if it collects; by default they are raised.
        missing: Takes the clips of which a file is not there, and what that is, by id; by default that is a fault.

    Returns:
        The lines that have no fault in their form.

    Raises:
        DataError: If the file cannot be read or is empty, or at the first fault, naming file, line and field, and how
            many more there are.
    """
    collected = Faults(collect=True)
    annotations = _read_lines(path, root, collected, missing)
    if faults is not None and faults.collect:
        faults.errors += collected.errors
        return annotations
    if collected.errors:
        count = len(collected.errors) - 1
        more = f" {count} more faults: 'avkit check {path}' lists them all." if count else ""
        raise DataError(f"{collected.errors[0]}{more}")
    return annotations


def _read_lines(path: Path, root: Path, faults: Faults, missing: dict[str, str] | None) -> list[Annotation]:
    annotations: list[Annotation] = []
    line_of_id: dict[str, int] = {}
    is_empty = True
    for number, text in enumerate(_read_text(path).split("\n"), 1):
        if not text.strip():
            continue
        is_empty = False
        with faults:
            annotation = parse_line(text, f"{path}, line {number}", root, faults, missing)
            if annotation.id in line_of_id:
                raise annotation.error(
                    "id",
                    f"{annotation.id!r} is already the id of line {line_of_id[annotation.id]}. Give each line its own.",
                )
            line_of_id[annotation.id] = number
            annotations.append(annotation)
    if is_empty:
        raise DataError(f'{path} is empty. Write one JSON object per line, such as {{"id": "a", "video": "a.mp4"}}.')
    return annotations


def _read_text(path: Path) -> str:
    if not is_file(path):
        place = url_of(path) or str(path)
        raise DataError(f"The manifest {place!r} cannot be read: No such file. Give the path of a JSON Lines file.")
    return read_text(path)


def parse_line(
    text: str, where: str, root: Path, faults: Faults = RAISE, missing: dict[str, str] | None = None
) -> Annotation:
    """Read one line: check it against `SCHEMA`, then what a schema cannot say.

    Args:
        text: The line.
        where: File and line, for messages.
        root: Folder of its paths.
        faults: Takes the faults in what the line says, where it collects.
        missing: Takes the line's id where a file of its clip is not there; by default that is a fault.

    Raises:
        DataError: At the first fault, naming file, line and field; where faults are collected, only if the form of the
            line is so faulty that it cannot be read.
    """
    values = _parse_json(text, where)
    form = Faults(collect=faults.collect)
    with form:
        check_value(values, SCHEMA, where, faults=form)
    if form.errors:
        faults.errors += form.errors[:-1]
        raise form.errors[-1]
    annotation = Annotation.from_dict(strip_names(values), where, root)
    _check_media(annotation, faults, missing)
    for k, caption in enumerate(annotation.captions or ()):
        with faults:
            _check_span(annotation, caption, f"captions[{k}].")
    for k, event in enumerate(annotation.events or ()):
        with faults:
            _check_span(annotation, event, f"events[{k}].")
    if annotation.end is not None:
        with faults:
            _check_order(annotation, annotation.start or 0, annotation.end, "")
    for k, mask in enumerate(annotation.masks or ()):
        with faults:
            _check_place(annotation, mask, f"masks[{k}]")
    for k, box in enumerate(annotation.boxes or ()):
        with faults:
            _check_place(annotation, box, f"boxes[{k}]")
    _apply_sources(annotation, faults)
    _check_masks(annotation, faults, missing)
    _check_boxes(annotation, faults)
    _check_captions(annotation, faults)
    _check_events(annotation, faults)
    return annotation


def _parse_json(text: str, where: str) -> Any:
    try:
        return parse_json(text, where, finite=False)  # the schema tells which field it is
    except FileError as error:
        place = ""
        if isinstance(error.__cause__, json.JSONDecodeError):
            place = f" at column {error.__cause__.colno}"
        raise DataError(
            f"{where}: not JSON{place} ({reason_of(error.__cause__ or error)}). "
            "Each line holds one whole object in braces, with no list around the lines."
        ) from error


def _check_file(annotation: Annotation, field: str, name: str, missing: dict[str, str] | None) -> None:
    try:
        is_there = is_file(annotation.root / name)
    except (OSError, ValueError) as error:  # a name that no file can have
        raise annotation.error(field, f"{name[:80]!r} is no path ({error}). Mend the path.") from error
    if is_there:
        return
    if missing is not None:
        missing[annotation.id] = f"{field} {name!r}"
        return
    raise annotation.error(
        field,
        f"{name!r} does not exist under root {str(annotation.root)!r}. "
        "Mend the path, or pass as root the folder it starts from.",
    )


def _check_media(annotation: Annotation, faults: Faults, missing: dict[str, str] | None) -> None:
    with faults:
        if (annotation.video is None) == (annotation.picture is None):
            raise annotation.error("", "give either 'video' or 'picture', one of the two.")
    with faults:
        if annotation.picture is not None and annotation.audio is None:
            raise annotation.error("picture", "a picture has no sound; give the sound file as 'audio'.")
    paths = {"video": annotation.video, "picture": annotation.picture, "audio": annotation.audio}
    for key, name in paths.items():
        if name is not None:
            with faults:
                _check_file(annotation, key, name, missing)


def _check_span(annotation: Annotation, record: SpanAnnotation, prefix: str) -> None:
    _check_order(annotation, record.start, record.end, prefix)


def _check_order(annotation: Annotation, start: float, end: float, prefix: str) -> None:
    if end <= start:
        raise annotation.error(f"{prefix}end", f"{end} s is not after the start at {start} s.")


def _check_place(annotation: Annotation, record: FrameAnnotation, field: str) -> None:
    if (record.time is None) == (record.step is None):
        raise annotation.error(field, "give either 'time' in seconds or 'step', one of the two.")


def _apply_sources(annotation: Annotation, faults: Faults) -> None:
    """Let `sources` name the values of masks that name none themselves; refuse masks that contradict them."""
    if annotation.sources is None:
        return
    labels: dict[str, str] = {}
    for k, entry in enumerate(annotation.sources):
        with faults:
            if str(entry.source) in labels:
                raise annotation.error(
                    f"sources[{k}].source", f"{entry.source} is there twice. Give each source its own number."
                )
        labels[str(entry.source)] = entry.label
    for k, mask in enumerate(annotation.masks or ()):
        with faults:
            if mask.foreground is not None:
                raise annotation.error(
                    f"masks[{k}].foreground", "which source sounds is said by 'sources'; leave out one of the two."
                )
        if mask.classes is None and mask.foreground is None:
            mask.classes = labels
        for value, name in (mask.classes or {}).items():
            with faults:
                if name is not None and labels.get(value) != name:
                    label = repr(labels[value]) if value in labels else "no source"
                    raise annotation.error(
                        f"masks[{k}].classes",
                        f"{value} is {name!r} here, and {label} by 'sources'. Write them alike, or leave it out.",
                    )


def _check_masks(annotation: Annotation, faults: Faults, missing: dict[str, str] | None) -> None:
    numbers: dict[tuple[str, float], int] = {}
    for k, mask in enumerate(annotation.masks or ()):
        with faults:
            _check_file(annotation, f"masks[{k}].file", mask.file, missing)
        with faults:
            if mask.classes is not None and mask.foreground is not None:
                raise annotation.error(
                    f"masks[{k}]", "give 'classes' or 'foreground', one of the two; a class that is null is background."
                )
        if (mask.time is None) == (mask.step is None):
            continue
        name, value = mask.place
        with faults:
            if mask.place in numbers:
                raise annotation.error(
                    f"masks[{k}].{name}",
                    f"{value} is that of masks[{numbers[mask.place]}] too; draw both into one PNG.",
                )
        numbers[mask.place] = k


def _check_boxes(annotation: Annotation, faults: Faults) -> None:
    for k, record in enumerate(annotation.boxes or ()):
        x1, y1, x2, y2 = record.box
        with faults:
            if x2 <= x1 or y2 <= y1:
                raise annotation.error(
                    f"boxes[{k}].box", f"{record.box} has no area; give x1, y1, x2, y2 with x1 < x2 and y1 < y2."
                )


def _names_of_sources(annotation: Annotation) -> dict[str, set[str]]:
    """Classes of each source of a line by its number: that of `sources`, or those that masks give the pixel value."""
    if annotation.sources:
        return {str(entry.source): {entry.label} for entry in annotation.sources}
    names: dict[str, set[str]] = {}
    for mask in annotation.masks or ():
        for value, name in (mask.classes or {}).items():
            if name is not None:
                names.setdefault(value, set()).add(name)
    return names


def _no_source(annotation: Annotation, number: int) -> str:
    """What is wrong with a number that no source has."""
    if annotation.sources:
        return (
            f"{number} is none of 'sources', which are {', '.join(str(entry.source) for entry in annotation.sources)}"
        )
    return f"{number} is no pixel value that 'classes' of a mask name"


def _check_events(annotation: Annotation, faults: Faults) -> None:
    """Refuse events of a source that there is not, or that is of another class."""
    names = _names_of_sources(annotation)
    for k, event in enumerate(annotation.events or ()):
        if event.source is None:
            continue
        known = names.get(str(event.source))
        with faults:
            if known is None:
                raise annotation.error(
                    f"events[{k}].source", f"{_no_source(annotation, event.source)}. Name it there, or leave it out."
                )
            if event.label not in known:
                raise annotation.error(
                    f"events[{k}].label",
                    f"{event.label!r} is of source {event.source}, which is {', '.join(map(repr, sorted(known)))}. "
                    "Write them alike, or leave the source out.",
                )


def _check_captions(annotation: Annotation, faults: Faults) -> None:
    """Refuse captions of one source that overlap, and those of a source that no mask has."""
    by_source: dict[int | None, list[tuple[float, float, int]]] = {}
    names = _names_of_sources(annotation)
    for k, caption in enumerate(annotation.captions or ()):
        by_source.setdefault(caption.source, []).append((caption.start, caption.end, k))
        with faults:
            if caption.source is not None and str(caption.source) not in names:
                raise annotation.error(
                    f"captions[{k}].source",
                    f"{_no_source(annotation, caption.source)}. Name it there, or leave it out for a sentence about "
                    "all that sounds.",
                )
    for spans in by_source.values():
        for (_, end, i), (start, _, k) in pairwise(sorted(spans)):
            with faults:
                if start < end:
                    raise annotation.error(
                        f"captions[{k}].start",
                        f"{start} s lies within captions[{i}], which ends at {end} s; one sentence of a source holds "
                        "at a time.",
                    )
