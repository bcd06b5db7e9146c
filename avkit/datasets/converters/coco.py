# SPDX-License-Identifier: Apache-2.0
"""COCO: boxes, polygons and run-length masks of pictures, which may be frames of videos.

Source:
    https://cocodataset.org/#format-data; videos as in YouTube-VIS.
"""

import math
import re
from pathlib import Path, PurePosixPath

import numpy as np

from avkit.datasets.annotations import field_error
from avkit.datasets.converters.coco_video import captions_of, expand_videos, sounding_videos, spans_of
from avkit.datasets.converters.media_folder import MediaFolder
from avkit.datasets.converters.notes import ClipNotes
from avkit.datasets.converters.options import ImportOptions
from avkit.datasets.converters.run_lengths import decode_text
from avkit.datasets.converters.shapes import Runs, Shape, Size, box_of, check_size, polygons_of
from avkit.datasets.json_records import JsonRecord
from avkit.reading.text import read_json

_FORM = "A COCO file has the lists images, annotations and categories"
_IMAGE_FORM = "An image has id, file_name, height and width"
_ANNOTATION_FORM = "An annotation has image_id, category_id, and segmentation or bbox"
#: Keys that hold the number of a frame.
_FRAME_KEYS = ("frame_index", "frame_id", "frame")


class _Picture:
    """A picture of the file: the clip it belongs to, and when it is seen."""

    def __init__(self, clip: ClipNotes, time: float, size: Size) -> None:
        self.clip = clip
        self.time = time
        self.size = size


def read(path: Path, media: MediaFolder, options: ImportOptions) -> list[ClipNotes]:
    """Clips of a COCO file; pictures without an annotation are left out.

    Raises:
        DataError: If something is of another form; names file, record and field.
    """
    file = JsonRecord(read_json(path), str(path), _FORM)
    categories = _names(path, file, "categories")
    videos = {}
    is_of_videos = "videos" in file.values and "images" not in file.values
    if is_of_videos:
        image_records, annotations = expand_videos(path, file)
    else:
        videos = _names(path, file, "videos") if "videos" in file.values else {}
        image_records = _records(path, file, "images", _IMAGE_FORM)
        annotations = _records(path, file, "annotations", _ANNOTATION_FORM)
    images = {image.name("id"): image for image in image_records}
    pictures: dict[str, _Picture] = {}
    clips: dict[str, ClipNotes] = {}
    for record in annotations:
        key = record.name("image_id")
        if key not in images:
            raise field_error(record.where, "image_id", f"{key} is the id of no image.")
        if key not in pictures:
            pictures[key] = _picture(images[key], videos, clips, media, options)
        category = record.name("category_id")
        if category not in categories:
            raise field_error(record.where, "category_id", f"{category} is no category; there are {len(categories)}.")
        picture = pictures[key]
        for shape in _shapes(record, categories[category], picture.size, options, is_of_videos=is_of_videos):
            picture.clip.add_shape(picture.time, shape)
    if is_of_videos:
        clip_of = {key.rpartition("/")[0]: picture.clip for key, picture in pictures.items()}
        _add_sources(path, file, clip_of, categories, options)
    return list(clips.values())


def _add_sources(
    path: Path, file: JsonRecord, clip_of: dict[str, ClipNotes], categories: dict[str, str], options: ImportOptions
) -> None:
    """Add what files of `avkit annotate` say of the objects of videos: when they sound, and sentences.

    Args:
        path: The file.
        file: Its content.
        clip_of: Clip by the id of its video.
        categories: Names of categories by their ids.
        options: How it is converted.
    """
    sounding = sounding_videos(path, file)
    for record in _records(path, file, "videos", "A video has id"):
        if record.name("id") in sounding and record.name("id") in clip_of:
            for caption in captions_of(record, [(0.0, math.inf)]):
                clip_of[record.name("id")].add("captions", caption)
    for record in _records(path, file, "annotations", _ANNOTATION_FORM):
        video = record.name("video_id")
        if video not in sounding or video not in clip_of:
            continue
        clip = clip_of[video]
        sources = clip.values.setdefault("sources", [])
        assert isinstance(sources, list)
        number = len(sources) + 1
        label = categories[record.name("category_id")]
        sources.append({"source": number, "label": label})
        spans = spans_of(record)
        events = [(start, end, "audio") for start, end in spans]
        events += [(start, end, "visual") for start, end in _seen(clip, number, options.hop)]
        for start, end, modality in events:
            clip.add("events", {**options.event(start, end, label, modality), "source": number})
        for caption in captions_of(record, spans, number):
            clip.add("captions", caption)


def _seen(clip: ClipNotes, source: int, hop: float) -> list[tuple[float, float]]:
    """Stretches of time around frames that show a source, each frame standing for a step."""
    seen: list[tuple[float, float]] = []
    for time in sorted(clip.frames):
        if not any(shape.source == source and _has_area(shape) for shape in clip.frames[time]):
            continue
        start = round(max(0.0, time - hop / 2), 6)
        if seen and start <= seen[-1][1]:
            start = seen.pop()[0]
        seen.append((start, round(time + hop / 2, 6)))
    return seen


def _has_area(shape: Shape) -> bool:
    return not isinstance(shape, Runs) or len(shape.counts) > 1


def _records(path: Path, file: JsonRecord, key: str, form: str) -> list[JsonRecord]:
    """The records of a list."""
    return [JsonRecord(values, f"{path}, {key}[{k}]", form) for k, values in enumerate(file.items(key))]


def _names(path: Path, file: JsonRecord, key: str) -> dict[str, str]:
    """Names of categories or videos, by their ids."""
    names = {}
    for k, values in enumerate(file.items(key)):
        record = JsonRecord(values, f"{path}, {key}[{k}]", f"Each of {key} has id and name")
        name = "name" if "name" in record.values else "file_name"
        names[record.name("id")] = record.text(name).strip()
    return names


def _picture(
    image: JsonRecord, videos: dict[str, str], clips: dict[str, ClipNotes], media: MediaFolder, options: ImportOptions
) -> _Picture:
    """Where an image belongs: to a video, as one of its frames, or to a sound of the same name."""
    size = check_size(image.number("height"), image.number("width"), image.where)
    name = image.text("file_name")
    time = 0.0
    if "video_id" in image.values:
        video = image.name("video_id")
        if video not in videos:
            raise field_error(image.where, "video_id", f"{video} is the id of no video.")
        time = _time(image, name, options)
        name = videos[video]
    elif media.find(name) is None:
        video = re.sub(r"(^|[/_.-])(frame|img|image)?[/_.-]?\d+\.\w+$", "", name)
        here = media.find(video) if video else None
        if here is not None and here.video is not None:
            time = _time(image, name, options)
            name = video
    clip = clips.setdefault(name, ClipNotes(image.where, name, size=size))
    if clip.size != size:
        raise field_error(
            image.where, "", f"is {size[1]} x {size[0]} pixels, and an earlier frame of {name!r} is of another size."
        )
    clip.frame_names.setdefault(time, image.text("file_name"))
    return _Picture(clip, time, size)


def _time(image: JsonRecord, name: str, options: ImportOptions) -> float:
    """Second of a video at which a frame is seen, by its number."""
    number: float | None = None
    for key in _FRAME_KEYS:
        if number is None and key in image.values:
            number = image.whole(key)
    digits = re.findall(r"\d+", PurePosixPath(name).stem)
    if number is None and digits:
        number = int(digits[-1]) - options.first_frame
    if number is None or number < 0:
        raise field_error(image.where, "file_name", f"{name!r} has no number of a frame from {options.first_frame} on.")
    if options.fps is None:
        raise field_error(
            image.where, "file_name", f"{name!r} is a frame of a video; say with --fps how many there are per second."
        )
    return number / options.fps


def _shapes(
    record: JsonRecord, label: str, size: Size, options: ImportOptions, *, is_of_videos: bool = False
) -> list[Shape]:
    """Mask and box of an annotation."""
    shapes: list[Shape] = []
    if is_of_videos and record.values.get("is_empty"):
        return [Runs(label, np.array([size[0] * size[1]]), size, source=record.whole("source"))]
    segmentation = record.values.get("segmentation")
    if segmentation and "segmentation" not in options.skip:
        shapes.append(_area(record, label, size))
    if record.values.get("bbox") and "bbox" not in options.skip:
        corner = record.items("bbox")
        if len(corner) != 4 or any(isinstance(x, bool) or not isinstance(x, int | float) for x in corner):
            raise field_error(record.where, "bbox", f"{corner!r} is not x, y, width, height.")
        x, y, width, height = corner
        box = box_of(label, (x, y, x + width, y + height), size, f"{record.where}, field 'bbox'")
        box.has_mask = bool(shapes)
        shapes.append(box)
    for shape in shapes:
        shape.source = record.whole("source") if is_of_videos else 0
    if not segmentation and "bbox" not in record.values:
        raise field_error(record.where, "", f"has neither segmentation nor bbox. {_ANNOTATION_FORM}.")
    return shapes


def _area(record: JsonRecord, label: str, size: Size) -> Shape:
    where = f"{record.where}, field 'segmentation'"
    segmentation = record.values["segmentation"]
    if isinstance(segmentation, list):
        for ring in segmentation:
            if not isinstance(ring, list) or any(isinstance(x, bool) or not isinstance(x, int | float) for x in ring):
                raise field_error(where, "", "is no list of polygons, each a list of numbers x, y, x, y, ...")
        return polygons_of(label, segmentation, where)
    runs = JsonRecord(segmentation, where, "A run-length code has size and counts")
    sides = runs.items("size")
    if len(sides) != 2 or any(isinstance(side, bool) or not isinstance(side, int) for side in sides):
        raise field_error(where, "size", f"{sides!r} is not height and width.")
    if tuple(sides) != size:
        raise field_error(
            where, "size", f"the mask is {sides[1]} x {sides[0]} pixels and its image {size[1]} x {size[0]}."
        )
    counts = runs.values.get("counts")
    if isinstance(counts, str):
        return Runs(label, decode_text(counts, where), size)
    numbers = runs.items("counts")
    if any(isinstance(count, bool) or not isinstance(count, int) for count in numbers):
        raise field_error(where, "counts", "holds something else than whole numbers.")
    if any(abs(count) > 2**31 for count in numbers):
        raise field_error(where, "counts", "holds a number that no picture has pixels for.")
    return Runs(label, np.array(numbers, np.int64), size)
