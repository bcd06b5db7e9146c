# SPDX-License-Identifier: Apache-2.0
"""Labels as avkit reads them: a manifest with masks, or masks and sentences in the folders of `avkit build`."""

import json
import math
from pathlib import Path
from typing import Any

from avkit.annotation.export import Exported, ExportOptions
from avkit.annotation.export.corpus import write_corpus
from avkit.annotation.export.parts import (
    clip_ids,
    default_place,
    is_own,
    note_own,
    object_map,
    relative,
    seconds,
    source_texts,
    stretches,
)
from avkit.annotation.folder import Folder
from avkit.annotation.labels import ClipLabels
from avkit.datasets.converters.lines import check_line
from avkit.datasets.converters.replace import mask_name, masks_of, prepare, replace_manifest
from avkit.datasets.faults import Faults
from avkit.errors import DataError


def write(folder: Folder, clips: list[ClipLabels], options: ExportOptions) -> Exported:
    """Write into the clips' own folders if `avkit build` made them and no other place is named; else a manifest."""
    if folder.corpus is not None and options.out is None:
        return write_corpus(folder, clips, options)
    out = options.out or default_place(folder, "manifest.jsonl")
    if out.is_dir() or out.suffix != ".jsonl":
        raise DataError(f"{out} is no name of a manifest. Name one such as {out / 'manifest.jsonl'} with -o.")
    overwrite = options.overwrite or is_own(folder, out)
    prepare(out, overwrite=overwrite)
    lines = []
    for number, (labels, name) in enumerate(zip(clips, clip_ids(clips), strict=True), 1):
        lines.append(_line(labels, name, f"{masks_of(out).name}/{number:05d}", out, options))
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    replace_manifest(out, text, lambda stage: _draw(stage, clips, lines), overwrite=overwrite)
    note_own(folder, out)
    return Exported(out, len(clips), [f"check it: avkit check {out}"])


def _line(labels: ClipLabels, name: str, prefix: str, out: Path, options: ExportOptions) -> dict[str, Any]:
    """The line of a clip, checked as the manifest's reader does."""
    line: dict[str, Any] = {"id": name, "video": relative(labels.clip.path, out.parent)}
    split = options.split or labels.clip.split
    if split:
        line["split"] = split
    masks = []
    for step in labels.known_steps():
        masks.append({"time": seconds(step + 0.5, labels.hop), "file": mask_name(prefix, name, step)})
    if masks:
        line["sources"] = [{"source": entry.number, "label": entry.name} for entry in labels.objects]
        line["masks"] = masks
    captions = _captions(labels)
    if captions:
        line["captions"] = captions
    line["events"] = _events(labels)
    faults = Faults(collect=True)
    check_line(line, labels.clip.name, out.parent.resolve(), labels.shape.duration, faults)
    if faults.errors:
        raise faults.errors[0]
    return line


def _captions(labels: ClipLabels) -> list[dict[str, Any]]:
    """Sentences of each source by themselves, first those about all that sounds."""
    captions = []
    for source, texts in source_texts(labels):
        for first, after, text in stretches(texts):
            caption: dict[str, Any] = {"start": seconds(first, labels.hop), "text": text}
            if after < labels.shape.steps:
                caption["end"] = seconds(after, labels.hop)
            if source is not None:
                caption["source"] = source
            captions.append(caption)
    return captions


def _events(labels: ClipLabels) -> list[dict[str, Any]]:
    """When each object sounds, and when its mask shows it."""
    events: list[dict[str, Any]] = []
    has_masks = bool(labels.known_steps())
    for entry in labels.objects:
        of = {"label": entry.name} | ({"source": entry.number} if has_masks else {})
        for start, end in entry.spans:
            events.append({"start": start, "end": end, "modality": "audio"} | of)
        visible = [
            entry.name if step in entry.masks and entry.mask(step).any() else "" for step in range(labels.shape.steps)
        ]
        for first, after, _ in stretches(visible):
            end = min(seconds(after, labels.hop), math.floor(labels.shape.duration * 1e3) / 1e3)
            events.append({"start": seconds(first, labels.hop), "end": end, "modality": "visual"} | of)
    return [event for event in events if event["start"] < event["end"]]


def _draw(stage: Path, clips: list[ClipLabels], lines: list[dict[str, Any]]) -> None:
    """Write the masks, whose pixel values are numbers of objects."""
    from PIL import Image

    for labels, line in zip(clips, lines, strict=True):
        for step, mask in zip(labels.known_steps(), line.get("masks", ()), strict=False):
            Image.fromarray(object_map(labels, step)).save(stage / Path(mask["file"]).name)
