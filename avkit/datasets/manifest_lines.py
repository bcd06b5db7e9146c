# SPDX-License-Identifier: Apache-2.0
"""The lines of a manifest, checked one by one before any media is read."""

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from avkit.datasets.manifest_schema import GIVES, SCHEMA, check, fault
from avkit.errors import DataError


@dataclass(frozen=True)
class Line:
    """One checked line of a manifest.

    Attributes:
        where: File and line number, for messages.
        data: The object as written, see `SCHEMA`.
        root: Folder of the paths in it.
    """

    where: str
    data: dict[str, Any]
    root: Path

    @property
    def fields(self) -> frozenset[str]:
        """Target fields that this line gives."""
        given = frozenset().union(*(GIVES[key] for key in GIVES if key in self.data))
        named = all("classes" in mask for mask in self.data.get("masks", ()))
        return given if named else given - {"class_mask"}

    @property
    def classes(self) -> set[str]:
        """Names of classes that occur in this line."""
        masks = (name for mask in self.data.get("masks", ()) for name in mask.get("classes", {}).values())
        events = (event["label"] for event in self.data.get("events", ()))
        return {name for name in (*masks, *events, *self.data.get("labels", ())) if name is not None}

    @property
    def captions(self) -> list[dict[str, Any]]:
        """Captions with their times, a plain sentence as one caption without times."""
        given = self.data.get("captions", [])
        return [{"text": given}] if isinstance(given, str) else given

    def check(self) -> None:
        """Check the line against `SCHEMA`, then what a schema cannot say.

        Raises:
            DataError: At the first fault, naming file, line and field.
        """
        check(self.data, SCHEMA, self.where)
        self._check_media()
        for key in ("captions", "events"):
            for k, entry in enumerate(self.captions if key == "captions" else self.data.get(key, ())):
                self._check_span(entry, f"{key}[{k}].")
        self._check_span(self.data, "")
        for key in ("masks", "boxes"):
            for k, entry in enumerate(self.data.get(key, ())):
                if ("time" in entry) == ("step" in entry):
                    raise self.fault(f"{key}[{k}]", "give either 'time' in seconds or 'step', one of the two.")
        self._check_masks()
        self._check_boxes()
        self._check_captions()

    def fault(self, field: str, what: str) -> DataError:
        """The error for one field of this line."""
        return fault(self.where, field, what)

    def _file(self, field: str, name: str) -> None:
        if not (self.root / name).is_file():
            raise self.fault(
                field,
                f"{name!r} does not exist under root {str(self.root)!r}. "
                "Mend the path, or pass as root the folder it starts from.",
            )

    def _check_media(self) -> None:
        if ("video" in self.data) == ("picture" in self.data):
            raise self.fault("", "give either 'video' or 'picture', one of the two.")
        if "picture" in self.data and "audio" not in self.data:
            raise self.fault("picture", "a picture has no sound; give the sound file as 'audio'.")
        for key in ("video", "picture", "audio"):
            if key in self.data:
                self._file(key, self.data[key])

    def _check_span(self, entry: dict[str, Any], prefix: str) -> None:
        start, end = entry.get("start", 0), entry.get("end", math.inf)
        if end <= start:
            raise self.fault(f"{prefix}end", f"{end} s is not after the start at {start} s.")

    def _check_masks(self) -> None:
        seen: dict[Any, int] = {}
        for k, mask in enumerate(self.data.get("masks", ())):
            self._file(f"masks[{k}].file", mask["file"])
            if "classes" in mask and "foreground" in mask:
                raise self.fault(
                    f"masks[{k}]", "give 'classes' or 'foreground', one of the two; a class that is null is background."
                )
            time = ("time", mask["time"]) if "time" in mask else ("step", mask["step"])
            if time in seen:
                raise self.fault(
                    f"masks[{k}].{time[0]}", f"{time[1]} is that of masks[{seen[time]}] too; draw both into one PNG."
                )
            seen[time] = k

    def _check_boxes(self) -> None:
        for k, entry in enumerate(self.data.get("boxes", ())):
            x1, y1, x2, y2 = entry["box"]
            if x2 <= x1 or y2 <= y1:
                raise self.fault(
                    f"boxes[{k}].box", f"{entry['box']} has no area; give x1, y1, x2, y2 with x1 < x2 and y1 < y2."
                )

    def _check_captions(self) -> None:
        spans = sorted((c.get("start", 0), c.get("end", math.inf), k) for k, c in enumerate(self.captions))
        for (_, end, i), (start, _, k) in pairwise(spans):
            if start < end:
                raise self.fault(
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
            line.check()
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
