# SPDX-License-Identifier: Apache-2.0
"""Label Studio's JSON and JSON-MIN: spans of sound and video, boxes, polygons, brushes, tracks, choices and texts.

Source:
    https://labelstud.io/guide/export.html and https://labelstud.io/tags (the values of each control); code of brushes
    as in https://github.com/HumanSignal/label-studio-converter
"""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlparse

from avkit.datasets.annotations import field_error
from avkit.datasets.converters.label_studio_min import MEDIA_KEYS, expand_task
from avkit.datasets.converters.media_folder import MediaFolder
from avkit.datasets.converters.notes import ClipNotes, Sighting, Track
from avkit.datasets.converters.options import ImportOptions
from avkit.datasets.converters.run_lengths import decode_packed, encode_runs
from avkit.datasets.converters.shapes import Box, Runs, Size, box_of, check_size, polygons_of
from avkit.datasets.converters.times import check_span
from avkit.datasets.json_records import JsonRecord, read_records
from avkit.errors import DataError

_FORM = "Export the project from Label Studio as JSON"
#: Width and height of a picture in the unit of positions, percent.
_PERCENT = (100, 100)
#: What Label Studio writes before the name of an uploaded file.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")


def read(path: Path, media: MediaFolder, options: ImportOptions) -> list[ClipNotes]:
    """Clips of an export; of each task the one annotation that was not cancelled.

    Raises:
        DataError: If something is of another form; names file, task, result and field.
    """
    clips = []
    for task in read_records(path, _FORM):
        if "annotation_id" in task.values and "annotations" not in task.values:
            task = expand_task(task, options)
        annotations = []
        for values in task.items("annotations"):
            annotation = JsonRecord(values, f"{task.where}, annotation", _FORM)
            if not annotation.values.get("was_cancelled"):
                annotations.append(annotation)
        if not annotations:
            continue
        if len(annotations) > 1:
            raise field_error(
                task.where, "annotations", f"has {len(annotations)} that differ in who made them; keep one of them."
            )
        clip = ClipNotes(task.where, _media_name(task, media))
        for k, values in enumerate(annotations[0].items("result")):
            _add_result(clip, JsonRecord(values, f"{task.where}, result {k}", _FORM), media, options)
        clips.append(clip)
    return clips


def _media_name(task: JsonRecord, media: MediaFolder) -> str:
    """Name of a task's media file, without what Label Studio adds to it."""
    data = JsonRecord(task.values.get("data"), f"{task.where}, field 'data'", _FORM)
    keys = [key for key in MEDIA_KEYS if key in data.values] or list(data.values)
    if len(keys) != 1:
        raise field_error(data.where, "", f"which is the media file: {', '.join(keys) or 'nothing'}? One is read.")
    name = data.text(keys[0])
    local = parse_qs(urlparse(name).query).get("d")
    name = local[0] if local else name
    if media.find(name) is None:
        head, slash, last = name.rpartition("/")
        plain = f"{head}{slash}{_UPLOADED.sub('', last)}"
        return plain if media.find(plain) is not None else name
    return name


def _add_result(clip: ClipNotes, result: JsonRecord, media: MediaFolder, options: ImportOptions) -> None:
    """Add one result of an annotation."""
    kind = result.text("type")
    name = result.text("from_name", "")
    if kind in options.skip or name in options.skip or kind == "relation":
        return
    value = JsonRecord(result.values.get("value"), f"{result.where}, field 'value'", _FORM)
    if kind == "textarea":
        _add_texts(clip, value, name, options)
    elif kind == "choices":
        for choice in value.items("choices"):
            clip.add_label(str(choice))
    elif kind == "labels":
        start, end = (round(value.number(key), 6) for key in ("start", "end"))
        check_span(start, end, value.where)
        clip.add("events", options.event(start, end, _label(value, kind), "audio"))
    elif kind == "timelinelabels":
        _add_ranges(clip, value, kind, media, options)
    elif kind == "videorectangle":
        _add_track(clip, value, media, options)
    elif kind in ("rectanglelabels", "polygonlabels", "brushlabels"):
        _add_shape(clip, result, value, kind)
    else:
        raise field_error(result.where, "type", f"{kind!r} is not read. Leave it out with --skip {kind}.")


def _label(value: JsonRecord, key: str) -> str:
    """The one class of a region."""
    names = value.items(key)
    if len(names) != 1 or not isinstance(names[0], str) or not names[0].strip():
        raise field_error(value.where, key, f"{names!r} is not the name of one class.")
    return names[0].strip()


def _add_texts(clip: ClipNotes, value: JsonRecord, name: str, options: ImportOptions) -> None:
    if name not in options.captions:
        raise field_error(
            value.where, "text", f"are the texts of {name!r} captions? Say so with --captions {name}, or --skip {name}."
        )
    texts = value.values.get("text")
    times = {}
    if "start" in value.values:
        times = {key: round(value.number(key), 6) for key in ("start", "end")}
    for text in texts if isinstance(texts, list) else [value.text("text")]:
        clip.add("captions", {**times, "text": str(text)})


def _fps(clip: ClipNotes, value: JsonRecord, media: MediaFolder, options: ImportOptions) -> float:
    """Frames per second at which frames are numbered."""
    if options.fps is not None:
        return options.fps
    if "framesCount" in value.values and "duration" in value.values:
        frames = value.number("framesCount")
        duration = value.number("duration")
        if frames > 0 and duration > 0:
            return frames / duration
    return media.fps(clip.media, value.where) or 1.0  # that of a missing file does not matter


def _add_ranges(clip: ClipNotes, value: JsonRecord, kind: str, media: MediaFolder, options: ImportOptions) -> None:
    """Events of ranges of frames, which count from 1 and include the last."""
    fps = _fps(clip, value, media, options)
    label = _label(value, kind)
    for values in value.items("ranges"):
        span = JsonRecord(values, value.where, "A range has start and end")
        start = round(max(0.0, span.whole("start") - 1) / fps, 6)
        end = round(span.whole("end") / fps, 6)
        check_span(start, end, value.where)
        clip.add("events", options.event(start, end, label))


def _add_track(clip: ClipNotes, value: JsonRecord, media: MediaFolder, options: ImportOptions) -> None:
    """The boxes of an object at its key frames, which count from 1."""
    label = _label(value, "labels")
    fps = _fps(clip, value, media, options)
    sightings = []
    for values in value.items("sequence"):
        place = JsonRecord(values, f"{value.where}, sequence", "An entry has frame, x, y, width, height, enabled")
        time = max(0, place.whole("frame") - 1) / fps
        sightings.append(Sighting(time, _box(place, label)))
        if not place.values.get("enabled", True):
            sightings.append(Sighting(time + 1 / fps, None))
    sightings.sort(key=lambda sighting: sighting.time)
    clip.tracks.append(Track(sightings))


def _box(value: JsonRecord, label: str) -> Box:
    if value.values.get("rotation"):
        raise field_error(value.where, "rotation", "a rotated box is not read. Draw a polygon.")
    x, y, width, height = (value.number(key) for key in ("x", "y", "width", "height"))
    return box_of(label, (x, y, x + width, y + height), _PERCENT, value.where)


def _brush(value: JsonRecord, label: str, size: Size) -> Runs:
    """What was painted: where the alpha of the brush's picture is not 0."""
    where = f"{value.where}, field 'rle'"
    data = value.items("rle")
    if any(isinstance(byte, bool) or not isinstance(byte, int) or not 0 <= byte < 256 for byte in data):
        raise field_error(value.where, "rle", "holds something else than whole numbers from 0 to 255.")
    colours = decode_packed(data, 4 * size[0] * size[1], where)
    return Runs(label, encode_runs(colours[3::4] > 0), size, by_column=False)


def _add_shape(clip: ClipNotes, result: JsonRecord, value: JsonRecord, kind: str) -> None:
    """A box or polygon in a picture."""
    size = check_size(result.number("original_height"), result.number("original_width"), result.where)
    if clip.size not in (None, size):
        raise DataError(f"{result.where}: its picture is of another size than that of an earlier result.")
    clip.size = size
    if result.values.get("image_rotation"):
        raise field_error(result.where, "image_rotation", "a picture that was turned is not read. Turn its file.")
    label = _label(value, kind)
    if kind == "brushlabels":
        clip.add_shape(0.0, _brush(value, label, size))
        return
    if kind == "rectanglelabels":
        clip.add_shape(0.0, _box(value, label))
        return
    numbers: list[float] = []
    for point in value.items("points"):
        if not isinstance(point, list) or len(point) != 2 or not all(isinstance(x, int | float) for x in point):
            raise field_error(value.where, "points", f"{point!r} is no x, y in percent.")
        numbers += [point[0] * size[1] / 100, point[1] * size[0] / 100]
    clip.add_shape(0.0, polygons_of(label, [numbers], value.where))
