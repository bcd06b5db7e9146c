# SPDX-License-Identifier: Apache-2.0
"""CVAT for video 1.1: an XML file per clip, with a mask at a frame of each step.

Source:
    https://docs.cvat.ai/docs/manual/advanced/xml_format/
"""

from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from numpy.typing import NDArray

from avkit.annotation.export import Exported, ExportOptions
from avkit.annotation.export.parts import default_place, file_ids, sounding_masks, write_whole_folder
from avkit.annotation.folder import Folder, open_video
from avkit.annotation.labels import ClipLabels, ObjectLabels
from avkit.datasets.converters.run_lengths import encode_runs
from avkit.files import write_file

#: A file by which an earlier export is known.
_MARKER = "labels.txt"


def write(folder: Folder, clips: list[ClipLabels], options: ExportOptions) -> Exported:
    """Write a folder with an XML file per clip."""
    out = options.out or default_place(folder, "labels_cvat")
    names = file_ids(clips)
    write_whole_folder(folder, out, _MARKER, lambda stage: _fill(stage, clips, names), overwrite=options.overwrite)
    return Exported(out, len(clips), [f"read it back: avkit import cvat {out} --media {folder.root}"])


def _fill(stage: Path, clips: list[ClipLabels], names: list[str]) -> None:
    for labels, name in zip(clips, names, strict=True):
        root = _document(labels)
        indent(root)
        write_file(stage / f"{name}.xml", tostring(root, encoding="utf-8", xml_declaration=True))
    write_file(stage / _MARKER, "".join(f"{name}.xml\n" for name in names))


def _document(labels: ClipLabels) -> Element:
    info = open_video(labels.clip.path).info
    fps = info.fps or 25.0
    height, width = labels.shape.size
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    SubElement(task, "size").text = str(round(labels.shape.duration * fps))
    SubElement(task, "mode").text = "interpolation"
    names = SubElement(task, "labels")
    for name in sorted({entry.name for entry in labels.objects}):
        SubElement(SubElement(names, "label"), "name").text = name
    size = SubElement(task, "original_size")
    SubElement(size, "width").text = str(width)
    SubElement(size, "height").text = str(height)
    SubElement(task, "source").text = labels.clip.media
    for number, entry in enumerate(labels.objects):
        _add_track(root, number, labels, entry, fps)
    return root


def _add_track(root: Element, number: int, labels: ClipLabels, entry: ObjectLabels, fps: float) -> None:
    """A track with a mask in the frame at the middle of each step, and its end where the object falls silent."""
    track = SubElement(root, "track", id=str(number), label=entry.name, source="manual")
    masks = sounding_masks(labels, entry)
    last: NDArray[np.bool_] | None = None
    for step in range(labels.shape.steps):
        mask = masks.get(step)
        if mask is None and last is None:
            continue
        frame = int((step + 0.5) * labels.hop * fps + 1e-6)
        _add_mask(track, frame, last if mask is None else mask, is_outside=mask is None)
        last = mask


def _add_mask(track: Element, frame: int, mask: NDArray[np.bool_] | None, *, is_outside: bool) -> None:
    assert mask is not None
    rows = mask.any(1).nonzero()[0]
    columns = mask.any(0).nonzero()[0]
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    SubElement(
        track,
        "mask",
        frame=str(frame),
        keyframe="1",
        outside=str(int(is_outside)),
        occluded="0",
        rle=", ".join(map(str, encode_runs(part).tolist())),
        left=str(columns[0]),
        top=str(rows[0]),
        width=str(part.shape[1]),
        height=str(part.shape[0]),
        z_order="0",
    )
