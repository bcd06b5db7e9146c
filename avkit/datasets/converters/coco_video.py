# SPDX-License-Identifier: Apache-2.0
"""COCO of videos, as YouTube-VIS has it: objects with a mask or box in each frame, brought into the form of pictures.

Source:
    https://github.com/youtubevos/cocoapi (videos with file_names, annotations with segmentations and bboxes)
"""

from pathlib import Path
from typing import Any

from avkit.datasets.annotations import field_error
from avkit.datasets.json_records import JsonRecord

_VIDEO_FORM = "A video has id, file_names, height and width"
_ANNOTATION_FORM = (
    "An annotation of a video has video_id, category_id, and segmentations or bboxes, one per frame or null"
)
#: Key of a picture's annotation, by that of a video's.
_SHAPE_KEYS = {"segmentations": "segmentation", "bboxes": "bbox"}


def expand_videos(path: Path, file: JsonRecord) -> tuple[list[JsonRecord], list[JsonRecord]]:
    """The frames of videos as images, and what is in each frame as annotations of it.

    Args:
        path: The file, for messages.
        file: Its content, with `videos` and without `images`.

    Raises:
        DataError: If something is of another form; names record and field.
    """
    images = []
    lengths = {}
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
        annotations += _by_frame(record, lengths)
    return images, annotations


def _by_frame(record: JsonRecord, lengths: dict[str, int]) -> list[JsonRecord]:
    """An object of a video in each frame in which it is."""
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
    if not any(key in record.values for key in _SHAPE_KEYS):
        raise field_error(record.where, "", f"has neither segmentations nor bboxes. {_ANNOTATION_FORM}.")
    records = []
    for frame, shapes_of_frame in sorted(by_frame.items()):
        values = {"image_id": f"{video}/{frame}", "category_id": record.values.get("category_id")} | shapes_of_frame
        records.append(JsonRecord(values, f"{record.where}, frame {frame}", _ANNOTATION_FORM))
    return records
