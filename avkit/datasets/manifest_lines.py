# SPDX-License-Identifier: Apache-2.0
"""The lines of a manifest, checked one by one before any media is read."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

from avkit.datasets.annotations import Line
from avkit.datasets.manifest_schema import SCHEMA, check
from avkit.errors import DataError


def check_line(line: Line) -> None:
    """Check the line against `SCHEMA`, then what a schema cannot say.

    Raises:
        DataError: At the first fault, naming file, line and field.
    """
    check(line.data, SCHEMA, line.where)
    _check_media(line)
    for key in ("captions", "events"):
        for k, entry in enumerate(line.captions if key == "captions" else line.data.get(key, ())):
            _check_span(line, entry, f"{key}[{k}].")
    _check_span(line, line.data, "")
    for key in ("masks", "boxes"):
        for k, entry in enumerate(line.data.get(key, ())):
            if ("time" in entry) == ("step" in entry):
                raise line.fault(f"{key}[{k}]", "give either 'time' in seconds or 'step', one of the two.")
    _check_masks(line)
    _check_boxes(line)
    _check_captions(line)


def _file(line: Line, field: str, name: str) -> None:
    if not (line.root / name).is_file():
        raise line.fault(
            field,
            f"{name!r} does not exist under root {str(line.root)!r}. "
            "Mend the path, or pass as root the folder it starts from.",
        )


def _check_media(line: Line) -> None:
    if ("video" in line.data) == ("picture" in line.data):
        raise line.fault("", "give either 'video' or 'picture', one of the two.")
    if "picture" in line.data and "audio" not in line.data:
        raise line.fault("picture", "a picture has no sound; give the sound file as 'audio'.")
    for key in ("video", "picture", "audio"):
        if key in line.data:
            _file(line, key, line.data[key])


def _check_span(line: Line, entry: dict[str, Any], prefix: str) -> None:
    start, end = entry.get("start", 0), entry.get("end", math.inf)
    if end <= start:
        raise line.fault(f"{prefix}end", f"{end} s is not after the start at {start} s.")


def _check_masks(line: Line) -> None:
    seen: dict[Any, int] = {}
    for k, mask in enumerate(line.data.get("masks", ())):
        _file(line, f"masks[{k}].file", mask["file"])
        if "classes" in mask and "foreground" in mask:
            raise line.fault(
                f"masks[{k}]", "give 'classes' or 'foreground', one of the two; a class that is null is background."
            )
        time = ("time", mask["time"]) if "time" in mask else ("step", mask["step"])
        if time in seen:
            raise line.fault(
                f"masks[{k}].{time[0]}", f"{time[1]} is that of masks[{seen[time]}] too; draw both into one PNG."
            )
        seen[time] = k


def _check_boxes(line: Line) -> None:
    for k, entry in enumerate(line.data.get("boxes", ())):
        x1, y1, x2, y2 = entry["box"]
        if x2 <= x1 or y2 <= y1:
            raise line.fault(
                f"boxes[{k}].box", f"{entry['box']} has no area; give x1, y1, x2, y2 with x1 < x2 and y1 < y2."
            )


def _check_captions(line: Line) -> None:
    spans = sorted((c.get("start", 0), c.get("end", math.inf), k) for k, c in enumerate(line.captions))
    for (_, end, i), (start, _, k) in pairwise(spans):
        if start < end:
            raise line.fault(
                f"captions[{k}].start",
                f"{start} s lies within captions[{i}], which ends at {end} s; one sentence holds at a time.",
            )


def read_lines(path: Path, root: Path) -> list[Line]:
    """Every line of a manifest, checked.

    Raises:
        DataError: At the first fault, naming file, line and field; if the file is empty, or an id occurs twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"The manifest {str(path)!r} cannot be read: {error.strerror}. Give the path of a JSON Lines file."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}). Save it again as UTF-8.") from error
    lines, ids = [], dict[str, str]()
    for number, row in enumerate(text.split("\n"), 1):
        if row.strip():
            line = Line(f"{path}, line {number}", _parse(row, f"{path}, line {number}"), root)
            check_line(line)
            name = line.data["id"]
            if name in ids:
                raise line.fault("id", f"{name!r} is already the id of {ids[name]}. Give each line its own.")
            ids[name] = f"line {number}"
            lines.append(line)
    if not lines:
        raise DataError(f'{path} is empty. Write one JSON object per line, such as {{"id": "a", "video": "a.mp4"}}.')
    return lines


def _parse(row: str, where: str) -> Any:
    try:
        return json.loads(row)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not JSON at column {error.colno} ({error.msg}). "
            "Each line holds one whole object in braces, with no list around the lines."
        ) from error
