# SPDX-License-Identifier: Apache-2.0
"""VGG Image Annotator 2 (regions of pictures) and VIA Video Annotator 3 (spans and regions of videos).

Source:
    https://gitlab.com/vgg/via/-/blob/master/via-3.x.y/CodeDoc.md
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avkit.datasets.annotations import field_error
from avkit.datasets.converters.media_folder import MediaFolder
from avkit.datasets.converters.notes import ClipNotes
from avkit.datasets.converters.options import ImportOptions
from avkit.datasets.converters.shapes import Shape, box_of, polygons_of
from avkit.datasets.converters.times import check_span
from avkit.datasets.json_records import JsonRecord, as_number
from avkit.errors import DataError
from avkit.reading.text import read_json

_FORM = "Save the project in VIA as JSON"
#: Names of the shapes of VIA 3 by their numbers.
_SHAPES = {1: "point", 2: "rect", 3: "circle", 4: "ellipse", 5: "line", 6: "polyline", 7: "polygon"}


def read(path: Path, media: MediaFolder, options: ImportOptions) -> list[ClipNotes]:
    """Clips of a VIA file.

    Raises:
        DataError: If something is of another form; names file, record and field.
    """
    file = JsonRecord(read_json(path), str(path), _FORM)
    if "metadata" in file.values and "view" in file.values:
        return _read_spans(path, file, media, options)
    if "_via_img_metadata" in file.values:
        file = _child(file, "_via_img_metadata")
    clips = []
    for key in file.values:
        record = _child(file, key)
        name = record.text("filename")
        clip = ClipNotes(record.where, name)
        for k, values in enumerate(record.items("regions")):
            region = JsonRecord(values, f"{record.where}, region {k}", _FORM)
            attributes = _child(region, "region_attributes").values
            label = _label(attributes, options, region.where)
            shape = _region(_child(region, "shape_attributes"), label, name, media, options)
            if shape is not None:
                clip.add_shape(0.0, shape)
        if clip.frames:
            clips.append(clip)
    return clips


def _child(record: JsonRecord, key: str) -> JsonRecord:
    """The object under a key."""
    return JsonRecord(record.values.get(key), f"{record.where}, field {key!r}", record.form)


def _label(attributes: Mapping[str, Any], options: ImportOptions, where: str) -> str:
    """The value of the attribute that names the class."""
    names = [name for name in attributes if name not in options.skip and name not in options.captions]
    if options.label is not None:
        names = [name for name in names if name == options.label]
    if len(names) != 1:
        held = ", ".join(attributes) or "none"
        raise field_error(where, "", f"which attribute names the class? Say it with --label; there are: {held}.")
    value = attributes[names[0]]
    if isinstance(value, dict):  # of check boxes
        chosen = [name for name, is_set in value.items() if is_set]
        value = chosen[0] if len(chosen) == 1 else chosen
    if not isinstance(value, str) or not value.strip():
        raise field_error(where, names[0], f"{value!r} is not the name of one class.")
    return value.strip()


def _region(record: JsonRecord, label: str, name: str, media: MediaFolder, options: ImportOptions) -> Shape | None:
    """A region of VIA 2."""
    kind = record.text("name")
    if kind == "rect":
        numbers = [record.number(key) for key in ("x", "y", "width", "height")]
    elif kind == "polygon":
        xs = record.items("all_points_x")
        ys = record.items("all_points_y")
        if len(xs) != len(ys):
            raise field_error(record.where, "all_points_y", f"has {len(ys)} numbers, and all_points_x {len(xs)}.")
        numbers = _numbers([x for pair in zip(xs, ys, strict=True) for x in pair], record.where)
    else:
        numbers = []
    return _shape(kind, numbers, label, name, media, options, record.where)


def _shape(
    kind: str,
    numbers: Sequence[float],
    label: str,
    name: str,
    media: MediaFolder,
    options: ImportOptions,
    where: str,
) -> Shape | None:
    """A shape, or None where it is to be left out or its media file is missing, which is said later."""
    if kind in options.skip:
        return None
    if kind == "polygon":
        return polygons_of(label, [numbers], where)
    if kind != "rect":
        raise DataError(f"{where}: a {kind} is not read; rect and polygon are. Leave it out with --skip {kind}.")
    if len(numbers) != 4:
        raise field_error(where, "", f"a rect has {len(numbers)} numbers; x, y, width and height are needed.")
    files = media.find(name)
    size = None if files is None else media.info(files.seen).size
    if size is None:
        size = (2**13, 2**13)  # of a file that is missing
    x, y, width, height = numbers
    return box_of(label, (x, y, x + width, y + height), size, where)


def _numbers(values: Sequence[Any], where: str) -> list[float]:
    numbers = []
    for value in values:
        number = as_number(value)
        if number is None:
            raise field_error(where, "", f"{value!r} is no number.")
        numbers.append(number)
    return numbers


def _read_spans(path: Path, file: JsonRecord, media: MediaFolder, options: ImportOptions) -> list[ClipNotes]:
    """Clips of VIA 3."""
    files = _child(file, "file")
    views = _child(file, "view")
    attributes = _child(file, "attribute")
    clips: dict[str, ClipNotes] = {}
    metadata = _child(file, "metadata")
    for key in metadata.values:
        record = _child(metadata, key)
        view = _child(views, record.name("vid"))
        numbers = view.items("fid_list")
        if len(numbers) != 1:
            raise field_error(view.where, "fid_list", f"names {len(numbers)} files; views of one file are read.")
        name = _child(files, str(numbers[0])).text("fname")
        clip = clips.setdefault(name, ClipNotes(record.where, name))
        named = _named_values(attributes, _child(record, "av"))
        _add_metadata(clip, record, named, media, options)
    return list(clips.values())


def _named_values(attributes: JsonRecord, values: JsonRecord) -> dict[str, Any]:
    """Values of attributes by their names, with the texts of options."""
    named = {}
    for key, value in values.values.items():
        attribute = _child(attributes, key)
        choices = attribute.values.get("options")
        if isinstance(choices, dict) and isinstance(value, str):
            parts = [choices.get(part, part) for part in value.split(",")] if value not in choices else [choices[value]]
            value = parts[0] if len(parts) == 1 else parts
        named[attribute.text("aname")] = value
    return named


def _add_metadata(
    clip: ClipNotes, record: JsonRecord, named: Mapping[str, Any], media: MediaFolder, options: ImportOptions
) -> None:
    """Add a span, a region at a moment, or what holds for the whole file."""
    times = _numbers(record.items("z"), f"{record.where}, field 'z'")
    corners = _numbers(record.items("xy"), f"{record.where}, field 'xy'")
    if len(times) > 2 or (corners and len(times) == 2):
        raise field_error(record.where, "z", f"{times} is neither a moment, nor start and end of a span without shape.")
    captions = [name for name in named if name in options.captions]
    span: dict[str, str | float | None] = {}
    if len(times) == 2:
        check_span(times[0], times[1], record.where)
        span = {"start": round(times[0], 6), "end": round(times[1], 6)}
    for name in captions:
        text = named[name]
        if not isinstance(text, str):
            raise field_error(record.where, name, f"{text!r} is no text.")
        clip.add("captions", {**span, "text": text})
    if captions and not set(named) - set(captions) - options.skip:
        return
    label = _label(named, options, record.where)
    if corners:
        kind = _SHAPES.get(int(corners[0]), f"shape {corners[0]:g}")
        shape = _shape(kind, corners[1:], label, clip.media, media, options, record.where)
        if shape is not None:
            clip.add_shape(times[0] if times else 0.0, shape)
    elif len(times) == 2:
        clip.add("events", options.event(times[0], times[1], label))
    elif times:
        raise field_error(record.where, "xy", "is empty, of a moment; give it a region, or an end.")
    else:
        clip.add_label(label)
