# SPDX-License-Identifier: Apache-2.0
"""CVAT for images 1.1 and CVAT for video 1.1: boxes, polygons, masks and tags; tracks of videos.

Source:
    https://docs.cvat.ai/docs/manual/advanced/xml_format/
"""

import math
import re
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from avkit.datasets.annotations import field_error
from avkit.datasets.converters.media_folder import MediaFolder
from avkit.datasets.converters.notes import ClipNotes, Sighting, Track
from avkit.datasets.converters.options import ImportOptions
from avkit.datasets.converters.shapes import Runs, Shape, Size, box_of, check_size, polygons_of
from avkit.errors import DataError
from avkit.reading.xml import read_xml

_FORM = "Export it from CVAT as 'CVAT for images 1.1' or 'CVAT for video 1.1'."
#: Shapes that are read.
_SHAPES = ("box", "polygon", "mask")
#: Elements of images and tracks that are no shapes.
_NO_SHAPES = ("attribute", "tag")


def read(path: Path, media: MediaFolder, options: ImportOptions) -> list[ClipNotes]:
    """Clips of a CVAT file.

    Raises:
        DataError: If something is of another form; names file, image or track, and shape.
    """
    root = read_xml(path, "annotations", _FORM)
    clips: dict[str, ClipNotes] = {}
    for element in root.iter("image"):
        _add_image(element, _where(path, element, "name"), root, clips, media, options)
    for element in root.iter("track"):
        where = _where(path, element, "label")
        task = _task_of(root, element.get("task_id"), where)
        name = task.findtext("source")
        if not name:
            raise field_error(where, "", f"the file names no video as source. {_FORM}")
        height = _read_number(task.findtext("original_size/height"), where, "original_size")
        width = _read_number(task.findtext("original_size/width"), where, "original_size")
        clip = clips.setdefault(name, ClipNotes(str(path), name, size=check_size(height, width, where)))
        fps = options.fps or media.fps(name, where) or 1.0  # that of a missing file does not matter
        track = _read_track(element, check_size(height, width, where), fps, where, options)
        if track.sightings:
            clip.tracks.append(track)
    return list(clips.values())


def _where(path: Path, element: Element, key: str) -> str:
    return f"{path}, {element.tag} {element.get('id', '?')} ({element.get(key, '?')})"


def _task_of(root: Element, number: str | None, where: str) -> Element:
    """What the file says of a task, or of the only one."""
    tasks = [task for name in ("task", "job") for task in root.iterfind(f".//meta//{name}")]
    tasks = [task for task in tasks if task.find("source") is not None] or tasks
    chosen = [task for task in tasks if number is None or task.findtext("id") == number] or tasks
    if len(chosen) != 1:
        raise field_error(where, "task_id", f"the file describes {len(chosen)} tasks and not one. {_FORM}")
    return chosen[0]


def _add_image(
    element: Element,
    where: str,
    root: Element,
    clips: dict[str, ClipNotes],
    media: MediaFolder,
    options: ImportOptions,
) -> None:
    """Add what a file says of an image, which may be a frame of the task's video."""
    name = element.get("name")
    if not name:
        raise field_error(where, "name", f"is missing. {_FORM}")
    shapes = [child for child in element if child.tag not in _NO_SHAPES]
    tags = [child for child in element if child.tag == "tag"]
    if not shapes and not tags:
        return
    size = check_size(_number(element, "height", where), _number(element, "width", where), where)
    time = 0.0
    frame = re.search(r"frame_(\d+)(\.\w+)?$", name)
    if media.find(name) is None and frame is not None:
        source = _task_of(root, element.get("task_id"), where).findtext("source") or name
        fps = options.fps or media.fps(source, where) or 1.0
        time = int(frame.group(1)) / fps
        name = source
    clip = clips.setdefault(name, ClipNotes(where, name, size=size))
    clip.frame_names[time] = element.get("name", name)
    shapes.sort(key=lambda shape: int(_number(shape, "z_order", where)) if "z_order" in shape.attrib else 0)
    for shape in shapes:
        made = _shape(shape, _label(shape, where), size, where, options)
        if made is not None:
            clip.add_shape(time, made)
    for tag in tags:
        clip.add_label(_label(tag, where))


def _read_track(element: Element, size: Size, fps: float, where: str, options: ImportOptions) -> Track:
    label = _label(element, where)
    sightings = []
    for child in element:
        if child.tag in _NO_SHAPES:
            continue
        frame = _number(child, "frame", where)
        place = f"{where}, frame {frame:g}"
        shape = None
        if child.get("outside", "0") != "1":
            shape = _shape(child, label, size, place, options)
            if shape is None:
                continue
        sightings.append(Sighting(frame / fps, shape))
    sightings.sort(key=lambda sighting: sighting.time)
    return Track(sightings)


def _shape(element: Element, label: str, size: Size, where: str, options: ImportOptions) -> Shape | None:
    """A shape, or None where it is to be left out."""
    kind = element.tag
    if kind in options.skip:
        return None
    if kind not in _SHAPES:
        raise DataError(f"{where}: a {kind} is not read; {', '.join(_SHAPES)} are. Leave it out with --skip {kind}.")
    if float(element.get("rotation", "0") or 0) % 360:
        raise DataError(f"{where}: a rotated {kind} is not read. Draw a polygon, or leave it out with --skip {kind}.")
    if kind == "box":
        corners = [_number(element, key, where) for key in ("xtl", "ytl", "xbr", "ybr")]
        return box_of(label, corners, size, where)
    if kind == "polygon":
        numbers = [_read_number(text, where, "points") for text in re.split("[;,]", element.get("points", ""))]
        return polygons_of(label, [numbers], where)
    counts = [_read_number(text, where, "rle") for text in element.get("rle", "").split(",")]
    top, left, height, width = (int(_number(element, key, where)) for key in ("top", "left", "height", "width"))
    part = check_size(height, width, where)
    return Runs(label, np.array(counts).astype(np.int64), size, by_column=False, corner=(top, left), part=part)


def _label(element: Element, where: str) -> str:
    label = (element.get("label") or "").strip()
    if not label:
        raise field_error(where, "label", f"is missing in a {element.tag}. {_FORM}")
    return label


def _number(element: Element, key: str, where: str) -> float:
    return _read_number(element.get(key), where, key)


def _read_number(text: str | None, where: str, key: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not abs(number) < 2**31:
        raise field_error(where, key, f"{text!r} is no number. {_FORM}")
    return number
