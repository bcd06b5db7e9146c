# SPDX-License-Identifier: Apache-2.0
"""Layouts of AVSBench, which its readers take: pictures and masks of seconds, sound, and a table."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avkit.annotation.clip_media import read_sound, step_frames
from avkit.annotation.export import Exported, ExportOptions
from avkit.annotation.export.parts import default_place, file_ids, object_map, write_whole_folder
from avkit.annotation.folder import Folder
from avkit.annotation.labels import ClipLabels
from avkit.batch import SAMPLE_RATE
from avkit.datasets.annotations import Annotation
from avkit.datasets.avsbench_avss import CLASSES, PARTS, palette_colour
from avkit.datasets.avsbench_s4 import CATEGORIES, SECONDS
from avkit.datasets.splits import SplitOptions, split_lines
from avkit.errors import DataError
from avkit.files import write_file
from avkit.media.write import write_wave

#: Writes a clip of a layout: stage, labels, name, split; returns its row of the table.
_Clip = Callable[[Path, ClipLabels, str, str], tuple[str | int, ...]]


def write_s4(folder: Folder, clips: list[ClipLabels], options: ExportOptions) -> Exported:
    """Write the layout of S4; each clip has one object, whose name is one of S4's."""
    for labels in clips:
        if len({entry.name for entry in labels.objects}) > 1:
            raise DataError(
                f"{labels.clip.name} has objects of several names, and clips of S4 have one. Use avsbench-ms3."
            )
        _s4_category(labels)
    columns = ("name", "start", "category", "split")
    return _write(folder, clips, options, "s4", "s4_meta_data.csv", columns, SECONDS, _s4_clip)


def write_ms3(folder: Folder, clips: list[ClipLabels], options: ExportOptions) -> Exported:
    """Write the layout of MS3; masks are of all that sounds."""
    return _write(folder, clips, options, "ms3", "ms3_meta_data.csv", ("name", "split"), SECONDS, _ms3_clip)


def write_avss(folder: Folder, clips: list[ClipLabels], options: ExportOptions) -> Exported:
    """Write the layout of AVSBench-semantic; names of objects are of its 70 classes."""
    for labels in clips:
        for entry in labels.objects:
            if entry.name not in CLASSES:
                raise DataError(
                    f"{labels.clip.name}: {entry.name!r} is no class of AVSBench-semantic, which has "
                    f"{', '.join(CLASSES)}. Rename the object, or use avsbench-ms3, which has no classes."
                )
    columns = ("vid", "uid", "s_min", "s_sec", "a_obj", "split", "label")
    return _write(folder, clips, options, "avss", "metadata.csv", columns, PARTS["v1m"], _avss_clip)


def _write(
    folder: Folder,
    clips: list[ClipLabels],
    options: ExportOptions,
    name: str,
    table: str,
    columns: tuple[str, ...],
    least: int,
    write_clip: _Clip,
) -> Exported:
    """Write clips and their table."""
    if folder.hop != 1.0:
        raise DataError(
            f"Masks of AVSBench are of whole seconds, and this folder has steps of {folder.hop:g} s (--hop)."
        )
    whole = [labels for labels in clips if set(range(_length(labels, least))) <= set(labels.known_steps())]
    short = [labels.clip.name for labels in clips if labels.shape.steps < least]
    if short:
        raise DataError(f"Clips of AVSBench last {least} s or more; {', '.join(short[:3])} do not. Move them away.")
    if not whole:
        raise DataError(f"No clip has masks in all of its first {least} seconds, which AVSBench needs.")
    ids = file_ids(whole)
    splits = _splits(whole, ids, options)
    rows: list[tuple[str | int, ...]] = []

    def fill(stage: Path) -> None:
        for labels, clip, split in zip(whole, ids, splits, strict=True):
            rows.append(write_clip(stage, labels, clip, split))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *rows])
        write_file(stage / table, text.getvalue())

    out = options.out or default_place(folder, f"labels_avsbench_{name}")
    write_whole_folder(folder, out, table, fill, overwrite=options.overwrite)
    left_out = len(clips) - len(whole)
    return Exported(out, len(whole), [f"{left_out} clips without all masks left out"] if left_out else [])


def _length(labels: ClipLabels, least: int) -> int:
    """Seconds of a clip that are written: ten where the layout has such clips, else five."""
    return PARTS["v2"] if least == PARTS["v1m"] and labels.shape.steps >= PARTS["v2"] else least


def _splits(clips: list[ClipLabels], ids: list[str], options: ExportOptions) -> list[str]:
    """The split of each clip: what is asked for, its own, or drawn as for manifests; train where there are too few."""
    lines = []
    for labels, name in zip(clips, ids, strict=True):
        split = options.split or labels.clip.split or None
        lines.append(Annotation(id=name, where=labels.clip.name, root=Path(), split=split, video=labels.clip.name))
    if len(lines) < 3:
        return [line.split or "train" for line in lines]
    by_split, _ = split_lines(lines, SplitOptions(), Path("labels"))
    split_of = {line.id: split for split, members in by_split.items() for line in members}
    return [split_of[name] for name in ids]


def _save(array: NDArray[np.uint8], path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def _frames(labels: ClipLabels, seconds: int) -> NDArray[np.uint8]:
    return step_frames(labels.clip.path, range(seconds), labels.hop, labels.shape.size)


def _sound(labels: ClipLabels, seconds: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wave(path, read_sound(labels.clip.path)[: seconds * SAMPLE_RATE])


def _binary(labels: ClipLabels, step: int) -> NDArray[np.uint8]:
    return (object_map(labels, step) > 0).astype(np.uint8) * np.uint8(255)


def _s4_category(labels: ClipLabels) -> str:
    """The category of S4 that has an object's name, or whose class of AVSBench-semantic has."""
    name = labels.objects[0].name
    for category, thing in CATEGORIES.items():
        if name in (category, thing):
            return category
    raise DataError(
        f"{labels.clip.name}: {name!r} is no category of S4, which has {', '.join(CATEGORIES)}. Rename the object, or "
        "use avsbench-ms3, which has no classes."
    )


def _s4_clip(stage: Path, labels: ClipLabels, name: str, split: str) -> tuple[str | int, ...]:
    category = _s4_category(labels)
    place = f"{split}/{category}"
    _sound(labels, SECONDS, stage / f"s4_data/audio_wav/{place}/{name}.wav")
    for k, frame in enumerate(_frames(labels, SECONDS)):
        _save(frame, stage / f"s4_data/visual_frames/{place}/{name}/{name}_{k + 1}.png")
        if k == 0 or split != "train":
            _save(_binary(labels, k), stage / f"s4_data/gt_masks/{place}/{name}/{name}_{k + 1}.png")
    return name, 0, category, split


def _ms3_clip(stage: Path, labels: ClipLabels, name: str, split: str) -> tuple[str | int, ...]:
    _sound(labels, SECONDS, stage / f"ms3_data/audio_wav/{split}/{name}.wav")
    for k, frame in enumerate(_frames(labels, SECONDS)):
        _save(frame, stage / f"ms3_data/visual_frames/{name}/{name}.mp4_{k + 1}.png")
        _save(_binary(labels, k), stage / f"ms3_data/gt_masks/{split}/{name}/{name}_{k + 1}.png")
    return name, split


def _avss_clip(stage: Path, labels: ClipLabels, name: str, split: str) -> tuple[str | int, ...]:
    part = "v2" if labels.shape.steps >= PARTS["v2"] else "v1m"
    seconds = PARTS[part]
    values = np.zeros(256, np.uint8)
    for entry in labels.objects:
        values[entry.number] = CLASSES.index(entry.name) + 1
    colours = np.array([palette_colour(k) for k in range(len(CLASSES) + 1)], np.uint8)
    _sound(labels, seconds, stage / f"{part}/{name}/audio.wav")
    for k, frame in enumerate(_frames(labels, seconds)):
        classes = values[object_map(labels, k)]
        _save(frame, stage / f"{part}/{name}/frames/{k}.jpg")
        _save(classes, stage / f"{part}/{name}/labels_semantic/{k}.png")
        _save(colours[classes], stage / f"{part}/{name}/labels_rgb/{k}.png")
    things = "_".join(sorted({entry.name for entry in labels.objects}))
    return name, name, 0, 0, things, split, part
