# SPDX-License-Identifier: Apache-2.0
"""Boxes of sound sources: tables `id,x1,y1,x2,y2`, lists of JSON, as VGG-SS writes them, or COCO results."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.datasets.json_records import JsonRecord, as_number
from avkit.errors import DataError
from avkit.reading.text import parse_json, read_json, read_text
from avkit.scoring.formats.ids import SampleIds
from avkit.scoring.formats.tables import Row, read_table, table_columns

_FORM = "An entry has id (or file, image_id) and bbox or boxes: x1, y1, x2, y2, or a list of such"
_ID_KEYS = ("id", "file", "image_id", "image", "filename", "video", "video_id", "name")
_BOX_KEYS = ("boxes", "box", "bbox")
_CORNERS = ("x1", "y1", "x2", "y2")
_SIZES = ("x", "y", "w", "h")


@dataclass(frozen=True)
class _Box:
    """A box as it is written.

    Attributes:
        where: File and line.
        id: Id of the picture as it is written.
        corners: x1, y1, x2, y2.
    """

    where: str
    id: str
    corners: tuple[float, float, float, float]


def read_boxes(path: Path, ids: SampleIds, size: tuple[int, int] | None = None) -> dict[str, NDArray[np.float64]]:
    """Boxes of every picture of a file, as fractions of width and height.

    Args:
        path: A table, a list of JSON, or lines of JSON. `bbox` of an entry with `category_id` or `score` and
            `image_id` is x, y, width and height, as in COCO results; else corners.
        ids: Ids of the pictures that are scored.
        size: Height and width of the pictures that pixels are of; None for fractions.

    Returns:
        x1, y1, x2, y2 of each box, (N, 4), by picture.

    Raises:
        DataError: If an entry names no picture, a box is reversed or outside the picture, or coordinates are pixels
            and `size` is not given.
    """
    by_picture: dict[str, list[_Box]] = defaultdict(list)
    boxes = list(_entries(path))
    highest = max((max(box.corners) for box in boxes), default=0.0)
    if size is None and highest > 1:
        box = next(box for box in boxes if max(box.corners) > 1)
        raise DataError(
            f"{box.where}: a coordinate is {max(box.corners):g}, so boxes are in pixels, and the size of their "
            "pictures is not known. Give it (height and width), or give fractions of width and height from 0 to 1."
        )
    height, width = size or (1, 1)
    for box in boxes:
        _check(box, height, width)
        name = ids.find(box.id, box.where)
        if name is not None:
            by_picture[name].append(box)
    scale = np.array([width, height, width, height], np.float64)
    return {name: np.array([box.corners for box in rows]) / scale for name, rows in by_picture.items()}


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


def _check(box: _Box, height: float, width: float) -> None:
    x1, y1, x2, y2 = box.corners
    if not (0 <= x1 <= x2 <= width and 0 <= y1 <= y2 <= height):
        unit = "" if (height, width) == (1, 1) else " pixels"
        raise DataError(
            f"{box.where}: box {x1:g}, {y1:g}, {x2:g}, {y2:g} is reversed or outside the picture of {width:g} x "
            f"{height:g}{unit}. Give x1 <= x2 and y1 <= y2 within it."
        )


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
    columns = table_columns(path, ("id", *_CORNERS, *_SIZES))
    if set(_SIZES) <= columns and not set(_CORNERS) <= columns:
        for row in read_table(path, ("id", *_SIZES)):
            yield _Box(row.where, row.cells["id"], _corners(_numbers(row, _SIZES)))
        return
    for row in read_table(path, ("id", *_CORNERS)):
        x1, y1, x2, y2 = _numbers(row, _CORNERS)
        yield _Box(row.where, row.cells["id"], (x1, y1, x2, y2))


def _numbers(row: Row, columns: Sequence[str]) -> list[float]:
    return [row.number(column) for column in columns]


def _corners(values: Sequence[float]) -> tuple[float, float, float, float]:
    """Corners of a box that is given by x, y, width and height."""
    x, y, width, height = values
    return x, y, x + width, y + height


def _record_boxes(values: Any, where: str) -> Iterator[_Box]:
    record = JsonRecord(values, where, _FORM)
    name = record.name(next((key for key in _ID_KEYS if key in record.values), _ID_KEYS[0]))
    if all(key in record.values for key in _CORNERS):
        yield _Box(where, name, _four([record.number(key) for key in _CORNERS], where))
        return
    key = next((key for key in _BOX_KEYS if key in record.values), _BOX_KEYS[0])
    rows = record.items(key)
    is_coco = "image_id" in record.values and key == "bbox"
    if rows and not isinstance(rows[0], list):
        rows = [rows]
    for row in rows:
        corners = _four(row, where)
        yield _Box(where, name, _corners(corners) if is_coco else corners)


def _four(row: Any, where: str) -> tuple[float, float, float, float]:
    numbers = [as_number(value) for value in row] if isinstance(row, list) else []
    finite = [number for number in numbers if number is not None]
    if len(numbers) != 4 or len(finite) != 4:
        raise DataError(f"{where}: {str(row)[:80]} is no box of four finite numbers. {_FORM}.")
    x1, y1, x2, y2 = finite
    return x1, y1, x2, y2
