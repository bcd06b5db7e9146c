# SPDX-License-Identifier: Apache-2.0
"""The lines of a manifest, checked one by one before any media is read."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from avkit.datasets.annotations import Annotation, FrameAnnotation, SpanAnnotation
from avkit.datasets.manifest_schema import SCHEMA, check_value
from avkit.errors import DataError


def read_manifest(path: Path, root: Path) -> list[Annotation]:
    """Read every line of a manifest.

    Args:
        path: The JSON Lines file.
        root: Folder of the paths in it.

    Raises:
        DataError: At the first fault, naming file, line and field; if the file is empty, or an id occurs twice.
    """
    annotations: list[Annotation] = []
    line_of_id: dict[str, int] = {}
    for number, text in enumerate(_read_text(path).split("\n"), 1):
        if not text.strip():
            continue
        annotation = parse_line(text, f"{path}, line {number}", root)
        if annotation.id in line_of_id:
            raise annotation.error(
                "id",
                f"{annotation.id!r} is already the id of line {line_of_id[annotation.id]}. Give each line its own.",
            )
        line_of_id[annotation.id] = number
        annotations.append(annotation)
    if not annotations:
        raise DataError(f'{path} is empty. Write one JSON object per line, such as {{"id": "a", "video": "a.mp4"}}.')
    return annotations


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"The manifest {str(path)!r} cannot be read: {error.strerror}. Give the path of a JSON Lines file."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}). Save it again as UTF-8.") from error


def parse_line(text: str, where: str, root: Path) -> Annotation:
    """Read one line: check it against `SCHEMA`, then what a schema cannot say.

    Raises:
        DataError: At the first fault, naming file, line and field.
    """
    values = _parse_json(text, where)
    check_value(values, SCHEMA, where)
    annotation = Annotation.from_dict(values, where, root)
    _check_media(annotation)
    for k, caption in enumerate(annotation.captions or ()):
        _check_span(annotation, caption, f"captions[{k}].")
    for k, event in enumerate(annotation.events or ()):
        _check_span(annotation, event, f"events[{k}].")
    if annotation.end is not None:
        _check_order(annotation, annotation.start or 0, annotation.end, "")
    for k, mask in enumerate(annotation.masks or ()):
        _check_place(annotation, mask, f"masks[{k}]")
    for k, box in enumerate(annotation.boxes or ()):
        _check_place(annotation, box, f"boxes[{k}]")
    _check_masks(annotation)
    _check_boxes(annotation)
    _check_captions(annotation)
    return annotation


def _parse_json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not JSON at column {error.colno} ({error.msg}). "
            "Each line holds one whole object in braces, with no list around the lines."
        ) from error


def _check_file(annotation: Annotation, field: str, name: str) -> None:
    if not (annotation.root / name).is_file():
        raise annotation.error(
            field,
            f"{name!r} does not exist under root {str(annotation.root)!r}. "
            "Mend the path, or pass as root the folder it starts from.",
        )


def _check_media(annotation: Annotation) -> None:
    if (annotation.video is None) == (annotation.picture is None):
        raise annotation.error("", "give either 'video' or 'picture', one of the two.")
    if annotation.picture is not None and annotation.audio is None:
        raise annotation.error("picture", "a picture has no sound; give the sound file as 'audio'.")
    paths = {"video": annotation.video, "picture": annotation.picture, "audio": annotation.audio}
    for key, name in paths.items():
        if name is not None:
            _check_file(annotation, key, name)


def _check_span(annotation: Annotation, record: SpanAnnotation, prefix: str) -> None:
    _check_order(annotation, record.start, record.end, prefix)


def _check_order(annotation: Annotation, start: float, end: float, prefix: str) -> None:
    if end <= start:
        raise annotation.error(f"{prefix}end", f"{end} s is not after the start at {start} s.")


def _check_place(annotation: Annotation, record: FrameAnnotation, field: str) -> None:
    if (record.time is None) == (record.step is None):
        raise annotation.error(field, "give either 'time' in seconds or 'step', one of the two.")


def _check_masks(annotation: Annotation) -> None:
    numbers: dict[tuple[str, float], int] = {}
    for k, mask in enumerate(annotation.masks or ()):
        _check_file(annotation, f"masks[{k}].file", mask.file)
        if mask.classes is not None and mask.foreground is not None:
            raise annotation.error(
                f"masks[{k}]", "give 'classes' or 'foreground', one of the two; a class that is null is background."
            )
        name, value = mask.place
        if mask.place in numbers:
            raise annotation.error(
                f"masks[{k}].{name}",
                f"{value} is that of masks[{numbers[mask.place]}] too; draw both into one PNG.",
            )
        numbers[mask.place] = k


def _check_boxes(annotation: Annotation) -> None:
    for k, record in enumerate(annotation.boxes or ()):
        x1, y1, x2, y2 = record.box
        if x2 <= x1 or y2 <= y1:
            raise annotation.error(
                f"boxes[{k}].box", f"{record.box} has no area; give x1, y1, x2, y2 with x1 < x2 and y1 < y2."
            )


def _check_captions(annotation: Annotation) -> None:
    """Refuse captions that overlap."""
    spans = sorted((caption.start, caption.end, k) for k, caption in enumerate(annotation.captions or ()))
    for (_, end, i), (start, _, k) in pairwise(spans):
        if start < end:
            raise annotation.error(
                f"captions[{k}].start",
                f"{start} s lies within captions[{i}], which ends at {end} s; one sentence holds at a time.",
            )
