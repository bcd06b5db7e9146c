# SPDX-License-Identifier: Apache-2.0
"""COCO JSON of videos, as YouTube-VIS has it: a run-length mask per object and step, and a picture of each step.

Pictures are named `CLIP/frame_MILLISECONDS.jpg` by their time in the video, so that videos of all frame rates go
together: `avkit import coco FILE --fps 1000 --media FOLDER` reads them back. Spans and sentences, which COCO does not
have, stand under `spans` and `sentences` of each annotation, sentences on all that sounds under those of its video.

Source:
    https://cocodataset.org/#format-data; https://github.com/youtubevos/cocoapi
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avkit.annotation.clip_media import step_picture
from avkit.annotation.export import Exported, ExportOptions
from avkit.annotation.export.parts import default_place, seconds, sounding_masks, write_whole_folder
from avkit.annotation.folder import Folder
from avkit.annotation.labels import ClipLabels
from avkit.datasets.converters.run_lengths import encode_runs, encode_text
from avkit.files import write_file

_FILE = "instances.json"


def write(folder: Folder, clips: list[ClipLabels], options: ExportOptions) -> Exported:
    """Write a folder with `instances.json` and `frames`."""
    out = options.out or default_place(folder, "labels_coco")
    folders = _folders(clips)
    write_whole_folder(folder, out, _FILE, lambda stage: _fill(stage, clips, folders), overwrite=options.overwrite)
    return Exported(
        out, len(clips), [f"read it back: avkit import coco {out / _FILE} --fps 1000 --media {folder.root}"]
    )


def _folders(clips: list[ClipLabels]) -> list[str]:
    """Folder of each clip's pictures: the path of its video, without ending where that names one video alone."""
    plain = [Path(labels.clip.media).with_suffix("").as_posix() for labels in clips]
    return [labels.clip.media if plain.count(name) > 1 else name for labels, name in zip(clips, plain, strict=True)]


def _fill(stage: Path, clips: list[ClipLabels], folders: list[str]) -> None:
    classes = sorted({entry.name for labels in clips for entry in labels.objects})
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
    ids = {name: number for number, name in enumerate(classes, 1)}
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (labels, name) in enumerate(zip(clips, folders, strict=True), 1):
        steps = labels.known_steps()
        files = [f"{name}/frame_{round((step + 0.5) * labels.hop * 1000):07d}.jpg" for step in steps]
        height, width = labels.shape.size
        videos.append(
            {"id": number, "file_names": files, "height": height, "width": width, "length": len(steps)}
            | {"name": labels.clip.name, "sentences": _sentences(labels, labels.sentences)}
        )
        for file, step in zip(files, steps, strict=True):
            path = stage / "frames" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(step_picture(labels.clip.path, step, labels.hop, labels.shape.size, labels.shape.steps))
        for entry in labels.objects:
            annotations.append(_annotation(labels, entry.number, steps, len(annotations) + 1, number, ids))
    document: dict[str, Any] = {"info": {"description": "labels of avkit annotate"}, "videos": videos}
    document |= {"categories": categories, "annotations": annotations}
    write_file(stage / _FILE, json.dumps(document, ensure_ascii=False))


def _annotation(
    labels: ClipLabels, number: int, steps: list[int], identity: int, video: int, ids: dict[str, int]
) -> dict[str, Any]:
    """An object: its mask, box and area in each step, null where it does not sound or is not in view."""
    (entry,) = (entry for entry in labels.objects if entry.number == number)
    masks = sounding_masks(labels, entry)
    segmentations: list[dict[str, Any] | None] = []
    boxes: list[list[int] | None] = []
    areas: list[int | None] = []
    for step in steps:
        mask = masks.get(step)
        if mask is None:
            segmentations.append(None)
            boxes.append(None)
            areas.append(None)
            continue
        segmentations.append({"size": list(mask.shape), "counts": encode_text(encode_runs(mask.T))})
        rows = mask.any(1).nonzero()[0]
        columns = mask.any(0).nonzero()[0]
        left = int(columns[0])
        top = int(rows[0])
        boxes.append([left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top])
        areas.append(int(mask.sum()))
    return {
        "id": identity,
        "video_id": video,
        "category_id": ids[entry.name],
        "iscrowd": 0,
        "segmentations": segmentations,
        "bboxes": boxes,
        "areas": areas,
        "spans": [list(span) for span in entry.spans],
        "sentences": _sentences(labels, entry.sentences),
    }


def _sentences(labels: ClipLabels, sentences: Mapping[int, str]) -> list[dict[str, Any]]:
    """Sentences with the second from which they hold."""
    return [{"start": seconds(step, labels.hop), "text": text} for step, text in sorted(sentences.items())]
