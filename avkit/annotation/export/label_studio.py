# SPDX-License-Identifier: Apache-2.0
"""Label Studio JSON: spans of sound, sentences, and boxes of the masks, since it has no masks in videos.

Source:
    https://labelstud.io/guide/task_format and https://labelstud.io/tags (the values of each control)
"""

import json
from typing import Any

from avkit.annotation.export import Exported, ExportOptions
from avkit.annotation.export.parts import (
    default_place,
    seconds,
    sounding_masks,
    step_texts,
    stretches,
    write_whole_file,
)
from avkit.annotation.folder import Folder, open_video
from avkit.annotation.labels import ClipLabels, ObjectLabels


def write(folder: Folder, clips: list[ClipLabels], options: ExportOptions) -> Exported:
    """Write a file with a task per clip."""
    out = options.out or default_place(folder, "labels_label_studio.json")
    tasks = [_task(number, labels) for number, labels in enumerate(clips, 1)]
    write_whole_file(folder, out, json.dumps(tasks, ensure_ascii=False, indent=1), overwrite=options.overwrite)
    note = f"read it back: avkit import label-studio {out} --captions sentences --media {folder.root}"
    return Exported(out, len(clips), [note])


def _task(number: int, labels: ClipLabels) -> dict[str, Any]:
    results: list[dict[str, Any]] = []
    for entry in labels.objects:
        results += _spans(labels, entry)
        track = _track(labels, entry)
        if track is not None:
            results.append(track)
    for first, after, text in stretches(step_texts(labels)):
        end = min(seconds(after, labels.hop), labels.shape.duration)
        value = {"start": seconds(first, labels.hop), "end": end, "text": [text]}
        results.append({"from_name": "sentences", "to_name": "audio", "type": "textarea", "value": value})
    for k, result in enumerate(results):
        result["id"] = f"r{number}_{k}"
    return {"id": number, "data": {"video": labels.clip.media}, "annotations": [{"id": number, "result": results}]}


def _spans(labels: ClipLabels, entry: ObjectLabels) -> list[dict[str, Any]]:
    results = []
    for start, end in entry.spans:
        value = {"start": start, "end": end, "labels": [entry.name], "channel": 0}
        results.append(
            {"from_name": "sounds", "to_name": "audio", "type": "labels", "value": value}
            | {"original_length": labels.shape.duration}
        )
    return results


def _track(labels: ClipLabels, entry: ObjectLabels) -> dict[str, Any] | None:
    """Boxes at the frames in the middles of steps, which count from 1; None where the object is never in view."""
    masks = sounding_masks(labels, entry)
    if not masks:
        return None
    fps = open_video(labels.clip.path).info.fps or 25.0
    height, width = labels.shape.size
    sequence = []
    for step, mask in masks.items():
        rows = mask.any(1).nonzero()[0]
        columns = mask.any(0).nonzero()[0]
        time = seconds(step + 0.5, labels.hop)
        sequence.append(
            {
                "frame": int(time * fps + 1e-6) + 1,
                "enabled": step + 1 in masks,
                "rotation": 0,
                "x": 100 * int(columns[0]) / width,
                "y": 100 * int(rows[0]) / height,
                "width": 100 * int(columns[-1] + 1 - columns[0]) / width,
                "height": 100 * int(rows[-1] + 1 - rows[0]) / height,
                "time": time,
            }
        )
    duration = labels.shape.duration
    value = {"labels": [entry.name], "sequence": sequence, "framesCount": round(duration * fps), "duration": duration}
    return {"from_name": "objects", "to_name": "video", "type": "videorectangle", "value": value}
