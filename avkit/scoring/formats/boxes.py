# SPDX-License-Identifier: Apache-2.0
"""Boxes of sound sources: tables `id,x1,y1,x2,y2`, lists of JSON, as VGG-SS writes them, or COCO results."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avkit.datasets.json_records import JsonRecord, as_number
from avkit.errors import AvkitError, DataError, FileError
from avkit.nn.heatmap import HEATMAP_SIZE
from avkit.reading.text import parse_json, read_json, read_text
from avkit.scoring.formats.base import Format
from avkit.scoring.formats.by_clip import group_by_clip
from avkit.scoring.formats.heat_maps import heat_record
from avkit.scoring.formats.ids import SampleIds
from avkit.scoring.formats.listed import sample_ids
from avkit.scoring.formats.tables import read_table, table_columns
from avkit.scoring.predictions import PlacedRecord
from avkit.scoring.truth import Truth
from avkit.tasks.ssl import SoundLocalization

#: Why boxes are not scored by the usual protocol.
_PROTOCOL_NOTE = (
    "Boxes are maps of 1 inside and 0 outside, scored by the protocol of LVS, which takes them as they are; that of "
    "EZ-VSL takes at least half of every picture."
)
_FORM = "An entry has id (or file, image_id) and bbox or boxes: x1, y1, x2, y2, or a list of such"
_ID_KEYS = ("id", "file", "image_id", "image", "filename", "video", "video_id", "name")
_BOX_KEYS = ("boxes", "box", "bbox")

#: Four numbers.
Four = tuple[float, float, float, float]

_CORNERS = ("x1", "y1", "x2", "y2")
_EXTENTS = ("x", "y", "w", "h")
_SIZE = ("image_width", "image_height")


@dataclass(frozen=True)
class _Box:
    """A box as it is written.

    Attributes:
        where: File and line.
        id: Id of the picture as it is written.
        corners: x1, y1, x2, y2.
        size: Width and height of the picture; None where they are not given.
    """

    where: str
    id: str
    corners: Four
    size: tuple[float, float] | None = None


class Boxes(Format):
    """Boxes of sources, which become maps of ones."""

    name = "boxes"
    title = "boxes: id,x1,y1,x2,y2 as table or JSON, or COCO results; fractions of the picture, or pixels with a size"
    tasks: ClassVar[tuple[str, ...]] = ("ssl",)

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Whether it is a file whose first entry is a box."""
        try:
            return path.is_file() and next(_entries(path), None) is not None
        except AvkitError:
            return False

    @classmethod
    def task_options(cls, truth: Truth) -> Mapping[str, object]:
        """The protocol of LVS, which takes a map of ones as it is.

        That of EZ-VSL takes at least half of the picture: all of it where a box is smaller than half.
        """
        return {"protocol": "lvs"}

    @classmethod
    def read(cls, path: Path, truth: Truth) -> Iterator[PlacedRecord | FileError]:
        """As `read_boxes`, as maps of 1 inside of the boxes of a picture and 0 elsewhere."""
        ids = sample_ids(truth)
        for boxes in read_boxes(path, ids):
            if isinstance(boxes, FileError):
                yield boxes
            else:
                yield PlacedRecord(boxes.where, heat_record(boxes.id, box_heat(boxes.corners, HEATMAP_SIZE)))
        truth.notes += ids.left_out(path)
        if isinstance(truth.task, SoundLocalization) and truth.task.protocol == "lvs":
            truth.notes.append(_PROTOCOL_NOTE)


@dataclass(frozen=True)
class PictureBoxes:
    """The boxes of one picture.

    Attributes:
        where: File and line of the first.
        id: Id of the picture.
        corners: x1, y1, x2, y2 of each as fractions of width and height, (N, 4).
    """

    where: str
    id: str
    corners: NDArray[np.float64]


def read_boxes(path: Path, ids: SampleIds) -> Iterator[PictureBoxes | FileError]:
    """Boxes of every picture of a file.

    Args:
        path: A table, a list of JSON, or lines of JSON. `bbox` of an entry with `image_id` is x, y, width and height,
            as in COCO results; else corners. Coordinates are fractions where none is above 1, else pixels of pictures
            whose `image_width` and `image_height` each entry has too.
        ids: Ids of the pictures that are scored.

    Yields:
        The boxes of each picture; an error for an entry that names no picture, and for a picture with a wrong box.

    Raises:
        DataError: If the file holds no boxes, or pixels without the size of their pictures.
    """
    boxes = list(_entries(path))
    in_pixels = [box for box in boxes if max(box.corners) > 1]
    for box in in_pixels:
        if box.size is None:
            raise DataError(
                f"{box.where}: a coordinate is {max(box.corners):g}, so boxes are in pixels, and the size of their "
                "pictures is not known. Add image_width and image_height to each, or give fractions from 0 to 1."
            )
    clips = group_by_clip(boxes, ids)
    yield from clips.errors
    for name, rows in clips.entries.items():
        try:
            corners = [_fractions(box, in_pixels=bool(in_pixels)) for box in rows]
        except DataError as error:
            yield FileError(str(error))
        else:
            yield PictureBoxes(rows[0].where, name, np.array(corners))


def box_heat(boxes: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """The map of some boxes, 1 inside of them and else 0, in the truncation of the official truth.

    Args:
        boxes: x1, y1, x2, y2 as fractions of width and height, (N, 4).
        size: Height and width of the map.
    """
    heat = np.zeros((size, size), np.float32)
    for x1, y1, x2, y2 in (boxes * size).astype(int).tolist():
        heat[y1:y2, x1:x2] = 1
    return heat


def _fractions(box: _Box, *, in_pixels: bool) -> tuple[float, ...]:
    """The corners as fractions of width and height.

    Raises:
        DataError: If the box is reversed or outside the picture.
    """
    x1, y1, x2, y2 = box.corners
    width, height = box.size if in_pixels and box.size is not None else (1.0, 1.0)
    if not (0 <= x1 <= x2 <= width and 0 <= y1 <= y2 <= height):
        raise DataError(
            f"{box.where}: box {x1:g}, {y1:g}, {x2:g}, {y2:g} is reversed or outside the picture of {width:g} x "
            f"{height:g}. Give x1 <= x2 and y1 <= y2 within it."
        )
    return x1 / width, y1 / height, x2 / width, y2 / height


def _entries(path: Path) -> Iterator[_Box]:
    endings = [ending.lower() for ending in path.suffixes]
    if ".json" in endings:
        content = read_json(path)
        if isinstance(content, dict):
            content = [{"id": name, "boxes": boxes} for name, boxes in content.items()]
        if not isinstance(content, list):
            raise DataError(f"{path} holds {type(content).__name__} instead of a list of entries. {_FORM}.")
        for k, values in enumerate(content):
            yield from _record_boxes(values, f"{path}, record {k}")
    elif ".jsonl" in endings:
        for k, line in enumerate(read_text(path).split("\n"), 1):
            if line.strip():
                where = f"{path}, line {k}"
                yield from _record_boxes(parse_json(line, where), where)
    else:
        yield from _table_boxes(path)


def _table_boxes(path: Path) -> Iterator[_Box]:
    columns = table_columns(path, ("id", *_CORNERS, *_EXTENTS))
    by_extent = set(_EXTENTS) <= columns and not set(_CORNERS) <= columns
    for row in read_table(path, ("id", *(_EXTENTS if by_extent else _CORNERS)), _SIZE):
        numbers = [row.number(column) for column in (_EXTENTS if by_extent else _CORNERS)]
        size = None
        if set(_SIZE) <= row.cells.keys():
            size = (row.number("image_width"), row.number("image_height"))
        yield _Box(row.where, row.cells["id"], _corners(numbers, by_extent=by_extent), size)


def _corners(numbers: Sequence[float], *, by_extent: bool) -> Four:
    """Corners of a box that is given by its corners, or by x, y, width and height."""
    a, b, c, d = numbers
    return (a, b, a + c, b + d) if by_extent else (a, b, c, d)


def _record_boxes(values: Any, where: str) -> Iterator[_Box]:
    record = JsonRecord(values, where, _FORM)
    name = record.name(next((key for key in _ID_KEYS if key in record.values), _ID_KEYS[0]))
    size = None
    if set(_SIZE) <= record.values.keys():
        size = (record.number("image_width"), record.number("image_height"))
    if all(key in record.values for key in _CORNERS):
        numbers = [record.number(key) for key in _CORNERS]
        yield _Box(where, name, _corners(numbers, by_extent=False), size)
        return
    key = next((key for key in _BOX_KEYS if key in record.values), _BOX_KEYS[0])
    rows = record.items(key)
    if rows and not isinstance(rows[0], list):
        rows = [rows]
    for row in rows:
        by_extent = "image_id" in record.values and key == "bbox"
        yield _Box(where, name, _corners(_four(row, where), by_extent=by_extent), size)


def _four(row: Any, where: str) -> list[float]:
    numbers = [as_number(value) for value in row] if isinstance(row, list) else []
    finite = [number for number in numbers if number is not None]
    if len(numbers) != 4 or len(finite) != 4:
        raise DataError(f"{where}: {str(row)[:80]} is no box of four finite numbers. {_FORM}.")
    return finite
