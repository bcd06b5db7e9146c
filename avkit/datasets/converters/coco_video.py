# SPDX-License-Identifier: Apache-2.0
"""COCO of videos, as YouTube-VIS has it: objects with a mask or box in each frame, brought into the form of pictures.

Files of `avkit annotate` also say when an object sounds and what is said of it, which COCO has no keys for: `spans`,
pairs of seconds, and `sentences`, each with `start` and `text`, which hold until the next one.

Source:
    https://github.com/youtubevos/cocoapi (videos with file_names, annotations with segmentations and bboxes)
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avkit.datasets.annotations import field_error
from avkit.datasets.json_records import JsonRecord, as_number

_VIDEO_FORM = "A video has id, file_names, height and width"
_ANNOTATION_FORM = (
    "An annotation of a video has video_id, category_id, and segmentations or bboxes, one per frame or null"
)
#: Keys of files of `avkit annotate`.
_SPANS = "spans"
_SENTENCES = "sentences"
#: Key of a picture's annotation, by that of a video's.
_SHAPE_KEYS = {"segmentations": "segmentation", "bboxes": "bbox"}


def expand_videos(path: Path, file: JsonRecord) -> tuple[list[JsonRecord], list[JsonRecord]]:
    """The frames of videos as images, and what is in each frame as annotations of it.

    In videos that say when their objects sound, these are sources, numbered from 1 in the order of the file under
    `source`, and what is said of a frame that does not show one is `is_empty`.

    Args:
        path: The file, for messages.
        file: Its content, with `videos` and without `images`.

    Raises:
        DataError: If something is of another form; names record and field.
    """
    images = []
    lengths = {}
    sounding = sounding_videos(path, file)
    counts: dict[str, int] = {}
    for k, values in enumerate(file.items("videos")):
        video = JsonRecord(values, f"{path}, videos[{k}]", _VIDEO_FORM)
        names = video.items("file_names")
        lengths[video.name("id")] = len(names)
        size = {key: video.number(key) for key in ("height", "width")}
        for frame, name in enumerate(names):
            values = {"id": f"{video.name('id')}/{frame}", "file_name": name} | size
            images.append(JsonRecord(values, f"{video.where}, file_names[{frame}]", _VIDEO_FORM))
    annotations = []
    for k, values in enumerate(file.items("annotations")):
        record = JsonRecord(values, f"{path}, annotations[{k}]", _ANNOTATION_FORM)
        of_video = record.name("video_id")
        counts[of_video] = counts.get(of_video, 0) + 1
        annotations += _by_frame(record, lengths, counts[of_video] if of_video in sounding else 0)
    return images, annotations


def sounding_videos(path: Path, file: JsonRecord) -> set[str]:
    """Ids of videos of whose objects it is said when they sound."""
    records = [
        JsonRecord(values, f"{path}, annotations[{k}]", "") for k, values in enumerate(file.items("annotations"))
    ]
    return {record.name("video_id") for record in records if _SPANS in record.values}


def spans_of(record: JsonRecord) -> list[tuple[float, float]]:
    """When an object sounds, start and end in seconds.

    Raises:
        DataError: If the spans are of another form.
    """
    spans = []
    for span in record.items(_SPANS):
        if not isinstance(span, list) or len(span) != 2 or any(as_number(edge) is None for edge in span):
            raise field_error(record.where, _SPANS, f"{span!r} is not start and end in seconds.")
        spans.append((float(span[0]), float(span[1])))
    return spans


def captions_of(
    record: JsonRecord, spans: Sequence[tuple[float, float]], source: int | None = None
) -> list[dict[str, Any]]:
    """Sentences as a manifest has them, within spans.

    Args:
        record: What has `sentences`.
        spans: Start and end in seconds of the times in which they hold.
        source: Number of the source that they are about.

    Raises:
        DataError: If the sentences are of another form.
    """
    if _SENTENCES not in record.values:
        return []
    form = "A sentence has start and text"
    entries = [JsonRecord(values, f"{record.where}, {_SENTENCES}", form) for values in record.items(_SENTENCES)]
    said = sorted((entry.number("start"), entry.text("text")) for entry in entries)
    captions = []
    ends = [start for start, _ in said[1:]] + [math.inf]
    for (start, text), after in zip(said, ends[: len(said)], strict=True):
        for first, last in spans:
            begin = max(start, first)
            end = min(after, last)
            if text and begin < end:
                caption: dict[str, Any] = {"start": begin, "text": text}
                caption |= {"end": end} if end < math.inf else {}
                captions.append(caption | ({"source": source} if source is not None else {}))
    return captions


def _by_frame(record: JsonRecord, lengths: dict[str, int], source: int) -> list[JsonRecord]:
    """An object of a video in each frame in which it is; of a source also in those in which it is not."""
    video = record.name("video_id")
    if video not in lengths:
        raise field_error(record.where, "video_id", f"{video} is the id of no video.")
    by_frame: dict[int, dict[str, Any]] = {}
    for key, frame_key in _SHAPE_KEYS.items():
        if key not in record.values:
            continue
        shapes = record.items(key)
        if len(shapes) != lengths[video]:
            raise field_error(
                record.where, key, f"has {len(shapes)} entries, and the video has {lengths[video]} file_names."
            )
        for frame, shape in enumerate(shapes):
            if shape:
                by_frame.setdefault(frame, {})[frame_key] = shape
            elif source and key == "segmentations":
                by_frame.setdefault(frame, {})["is_empty"] = True
    if not any(key in record.values for key in _SHAPE_KEYS):
        raise field_error(record.where, "", f"has neither segmentations nor bboxes. {_ANNOTATION_FORM}.")
    records = []
    for frame, shapes_of_frame in sorted(by_frame.items()):
        values = {"image_id": f"{video}/{frame}", "category_id": record.values.get("category_id"), "source": source}
        values |= shapes_of_frame
        records.append(JsonRecord(values, f"{record.where}, frame {frame}", _ANNOTATION_FORM))
    return records
