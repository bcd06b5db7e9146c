# SPDX-License-Identifier: Apache-2.0
"""What several formats need of a clip's labels: maps of objects, sentences by step, names, and safe places to write."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avkit.annotation.folder import Folder
from avkit.annotation.labels import ClipLabels, ObjectLabels
from avkit.errors import DataError
from avkit.files import cannot_write, temporary_folder, write_file
from avkit.text.joining import join_sentences

#: File in the work folder with the digests of what was written.
_LEDGER = "exported.txt"


def object_map(labels: ClipLabels, step: int) -> NDArray[np.uint8]:
    """Number of the sounding object that each pixel shows, else 0, (H, W); later objects lie on top."""
    values = np.zeros(labels.shape.size, np.uint8)
    for entry in labels.objects:
        if labels.sounding(entry)[step] and step in entry.masks:
            values[entry.mask(step)] = entry.number
    return values


def sounding_masks(labels: ClipLabels, entry: ObjectLabels) -> dict[int, NDArray[np.bool_]]:
    """Masks of an object in the steps in which it sounds and is in view."""
    sounding = labels.sounding(entry)
    masks = {step: entry.mask(step) for step in sorted(entry.masks) if sounding[step]}
    return {step: mask for step, mask in masks.items() if mask.any()}


def source_texts(labels: ClipLabels) -> list[tuple[int | None, list[str]]]:
    """The sentence of each step about all that sounds (None), then about each object while it sounds; empty else."""
    steps = range(labels.shape.steps)
    sources: list[tuple[int | None, list[str]]] = [(None, [labels.sentence(labels.sentences, step) for step in steps])]
    for entry in labels.objects:
        sounding = labels.sounding(entry)
        texts = [labels.sentence(entry.sentences, step) if sounding[step] else "" for step in steps]
        sources.append((entry.number, texts))
    return sources


def step_texts(labels: ClipLabels) -> list[str]:
    """The sentences of each step joined by "and": that about all, then those of the objects that sound."""
    texts = []
    for together in zip(*(texts for _, texts in source_texts(labels)), strict=True):
        texts.append(join_sentences(together))
    return texts


def stretches(values: list[str]) -> list[tuple[int, int, str]]:
    """First step, step after the last, and value of stretches of equal values that are not empty."""
    parts: list[tuple[int, int, str]] = []
    for step, value in enumerate(values):
        if parts and parts[-1][1] == step and parts[-1][2] == value:
            parts[-1] = (parts[-1][0], step + 1, value)
        elif value:
            parts.append((step, step + 1, value))
    return parts


def seconds(step: float, hop: float) -> float:
    """Time of a step without the noise of floating point."""
    return round(step * hop, 6)


def clip_ids(clips: list[ClipLabels]) -> list[str]:
    """A name for each clip: that of its file, or, where several have that, its path; each once."""
    stems = [Path(labels.clip.name).stem for labels in clips]
    ids: list[str] = []
    for labels, stem in zip(clips, stems, strict=True):
        name = stem
        if stems.count(stem) > 1:
            name = re.sub(r"[/\\]", "_", labels.clip.name)
        while name in ids:
            name += "_"
        ids.append(name)
    return ids


def file_ids(clips: list[ClipLabels]) -> list[str]:
    """As `clip_ids`, of letters, digits, dots, dashes and underscores alone; numbered, so that each is there once."""
    ids = []
    for number, name in enumerate(clip_ids(clips), 1):
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:80] or "clip"
        ids.append(plain if plain not in ids and plain == name else f"{plain}_{number:05d}")
    return ids


def default_place(folder: Folder, name: str) -> Path:
    """Where a format is written: in the labelled folder, or in that of the labels where it lies elsewhere."""
    base = folder.root if folder.work.is_relative_to(folder.root) else folder.work
    return base / name


def is_own(folder: Folder, path: Path) -> bool:
    """Whether a file is as an export of this folder has left it, so that it may be replaced."""
    ledger = folder.work / _LEDGER
    if not ledger.is_file() or not path.is_file():
        return False
    return _entry(path) in ledger.read_text(encoding="utf-8", errors="replace").splitlines()


def note_own(folder: Folder, path: Path) -> None:
    """Remember a file that was written, see `is_own`."""
    ledger = folder.work / _LEDGER
    lines = ledger.read_text(encoding="utf-8", errors="replace").splitlines() if ledger.is_file() else []
    place = _entry(path).partition(" ")[2]
    kept = [line for line in lines if line.partition(" ")[2] != place]
    write_file(ledger, "".join(f"{line}\n" for line in [*kept, _entry(path)]))


def _entry(path: Path) -> str:
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()} {str(path.resolve())!r}"


def write_whole_file(folder: Folder, path: Path, text: str, *, overwrite: bool) -> Path:
    """Write a file in the place of one that an export wrote, or of none.

    Raises:
        DataError: If something else lies there and `overwrite` is False.
        WriteError: If the disk refuses it.
    """
    if path.exists() and not overwrite and not is_own(folder, path):
        raise DataError(
            f"{path} exists and is not what was exported before. Name another with -o, or pass --overwrite."
        )
    write_file(path, text)
    note_own(folder, path)
    return path


def write_whole_folder(
    folder: Folder, path: Path, marker: str, fill: Callable[[Path], None], *, overwrite: bool
) -> Path:
    """Write a folder in the place of one that an export wrote, or of none.

    Args:
        folder: The labelled folder.
        path: The folder to write.
        marker: A file in it by which an earlier export is known.
        fill: Writes into the folder that it is given.
        overwrite: Replace a folder whose `marker` was changed since.

    Raises:
        DataError: If something else lies there.
        WriteError: If the disk refuses it.
    """
    is_empty = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    is_earlier = (path / marker).is_file() and (overwrite or is_own(folder, path / marker))
    if not is_empty and not is_earlier:
        raise DataError(f"{path} exists and is not what was exported before. Name another folder with -o.")
    stage = temporary_folder(path)
    try:
        (stage / "new").mkdir()
        fill(stage / "new")
        if path.exists():
            path.rename(stage / "old")
        try:
            (stage / "new").rename(path)
        except OSError:
            if (stage / "old").exists():
                (stage / "old").rename(path)
            raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    note_own(folder, path / marker)
    return path


def relative(path: Path, start: Path) -> str:
    """A path as seen from a folder, with slashes."""
    return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()
