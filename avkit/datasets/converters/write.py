# SPDX-License-Identifier: Apache-2.0
"""Converting files of annotations into a manifest, with masks beside it, all or nothing."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from avkit.datasets.converters import FORMATS, find_reader, list_files
from avkit.datasets.converters.lines import Lines, find_media, make_lines, merge_clips
from avkit.datasets.converters.masks import draw_mask
from avkit.datasets.converters.media_folder import MediaFolder
from avkit.datasets.converters.notes import ClipNotes
from avkit.datasets.converters.options import ImportOptions
from avkit.datasets.json_records import annotation_errors
from avkit.errors import DataError
from avkit.files import acquire_lock, cannot_write, leftovers, release_lock, temporary_folder, write_file

#: Names of the masks that are written here.
_MASK_NAME = re.compile(r"\d{5}_.*_\d{5}\.png")

#: Parts of the temporary folder: new masks, those that they replace, and the manifest.
_NEW = "new"
_OLD = "old"
_MANIFEST = "manifest.jsonl"


@dataclass
class Imported:
    """What was written.

    Attributes:
        out: The manifest.
        clips: Number of its lines.
        counts: Number of entries under each of its keys.
        frames_left_out: Annotated frames that no step keeps.
    """

    out: Path
    clips: int
    counts: dict[str, int] = field(default_factory=dict)
    frames_left_out: int = 0


def import_files(
    name: str, paths: Sequence[Path], out: Path, options: ImportOptions, *, overwrite: bool = False
) -> Imported:
    """Convert annotation files into one manifest.

    Args:
        name: Their format, see `FORMATS`.
        paths: Files, or folders of them.
        out: The manifest to write; masks go into the folder `STEM_masks` beside it.
        options: How they are converted.
        overwrite: Whether an existing manifest and its masks may be replaced.

    Raises:
        DataError: If something does not fit; then nothing is written.
        ValueError: If the format is not known.
    """
    reader = find_reader(name)
    masks = _masks_of(out)
    _clear_up(out)
    _check_out(out, masks, overwrite=overwrite)
    groups: dict[Path, list[ClipNotes]] = {}
    for path in list_files(name, list(paths)):
        root = options.media or path.parent
        with annotation_errors(FORMATS[name].title, path.parent):
            groups.setdefault(root, []).extend(reader(path, MediaFolder(root), options))
    clips = []
    media = MediaFolder(options.media or paths[0].parent)
    for root, notes in groups.items():
        clips += list(zip(notes, find_media(notes, MediaFolder(root)), strict=True))
    if not clips:
        raise DataError(f"{paths[0]} has no annotation that can be taken. Nothing was written.")
    merged = merge_clips([clip for clip, _ in clips], [files for _, files in clips])
    lines = make_lines(merged, media, out, options)
    _write(lines, out, overwrite=overwrite)
    counts: dict[str, int] = {}
    for line in lines.lines:
        for key, value in line.items():
            if isinstance(value, list):
                counts[key] = counts.get(key, 0) + len(value)
    return Imported(out, len(lines.lines), counts, lines.frames_left_out)


def _check_out(out: Path, masks: Path, *, overwrite: bool) -> None:
    for path in (out, masks):
        if path.exists() and not overwrite:
            raise DataError(f"{path} exists. Choose another name with -o, or pass --overwrite.")
    others = [file.name for file in masks.iterdir() if not _MASK_NAME.fullmatch(file.name)] if masks.is_dir() else []
    if out.is_dir() or masks.is_file() or others:
        held = f"{masks} holds other files ({others[0]})" if others else f"{out} or {masks} is of another kind"
        raise DataError(f"{held} and is not replaced. Choose another name with -o.")


def _masks_of(out: Path) -> Path:
    """The folder of a manifest's masks."""
    return out.parent / f"{out.stem}_masks"


def _write(lines: Lines, out: Path, *, overwrite: bool) -> None:
    """Write masks and manifest beside their places, then move them there, or undo all."""
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines.lines)
    stage = temporary_folder(out)
    try:
        _draw_masks(lines, stage / _NEW)
        write_file(stage / _MANIFEST, text)
        with _alone(out):
            _check_out(out, _masks_of(out), overwrite=overwrite)  # another process may have written them meanwhile
            try:
                _move(stage, out, with_masks=bool(lines.masks))
            finally:
                _undo(stage, out)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _move(stage: Path, out: Path, *, with_masks: bool) -> None:
    """Move what lies in a stage to its places; the manifest comes last."""
    masks = _masks_of(out)
    if masks.exists():
        masks.rename(stage / _OLD)
    if with_masks:
        (stage / _NEW).rename(masks)
    (stage / _MANIFEST).replace(out)


def _undo(stage: Path, out: Path) -> None:
    """Delete a stage, and put masks back where its manifest has not reached its place.

    Args:
        stage: The temporary folder of an import.
        out: The manifest.
    """
    masks = _masks_of(out)
    if (stage / _MANIFEST).exists():
        if not (stage / _NEW).exists():  # they had reached their place
            shutil.rmtree(masks, ignore_errors=True)
        if (stage / _OLD).exists():
            (stage / _OLD).rename(masks)
        (stage / _MANIFEST).unlink()  # from here on there is nothing to put back
    shutil.rmtree(stage, ignore_errors=True)


def _clear_up(out: Path) -> None:
    """Undo what killed imports have left."""
    if leftovers(out) or _lock_of(out).exists():
        with _alone(out):
            for stage in leftovers(out):
                _undo(stage, out)


def _lock_of(out: Path) -> Path:
    """The file by which processes that write one manifest wait for each other."""
    return out.parent / f".{out.name}.lock"


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Let one process at a time move files to a manifest's place."""
    try:
        lock = acquire_lock(_lock_of(out), wait=True)
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        yield
    finally:
        release_lock(lock)


def _draw_masks(lines: Lines, folder: Path) -> None:
    import numpy as np
    from PIL import Image

    folder.mkdir()
    kind = np.uint8 if len(lines.classes) < 256 else np.uint16
    for plan in lines.masks:
        values = draw_mask(plan, lines.classes).astype(kind)
        Image.fromarray(values).save(folder / Path(plan.name).name)
