# SPDX-License-Identifier: Apache-2.0
"""A manifest with its folder of masks, written together: a kill leaves both of before or both of now."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from avkit.errors import DataError
from avkit.files import acquire_lock, cannot_write, leftovers, release_lock, temporary_folder, write_file

#: Names of the masks that are written here.
_MASK_NAME = re.compile(r"\d{5}_.*_\d{5}\.png")

#: Parts of the temporary folder: new masks, those that they replace, and the manifest.
_NEW = "new"
_OLD = "old"
_MANIFEST = "manifest.jsonl"


def mask_name(prefix: str, clip: str, number: int) -> str:
    """File name of a mask.

    Args:
        prefix: Folder, and number of the clip in five digits.
        clip: The clip's name, of which as much is kept as file names may hold.
        number: Number of the mask in its clip.
    """
    return f"{prefix}_{re.sub(r'[^A-Za-z0-9.-]+', '_', clip)[:80]}_{number:05d}.png"


def prepare(out: Path, *, overwrite: bool) -> None:
    """Undo what killed writers have left, and refuse a manifest that may not be replaced.

    Raises:
        DataError: If the manifest or its masks exist, or something else lies in their place.
    """
    _clear_up(out)
    _check_out(out, masks_of(out), overwrite=overwrite)


def replace_manifest(out: Path, text: str, draw_masks: Callable[[Path], None] | None, *, overwrite: bool) -> None:
    """Write masks and manifest beside their places, then move them there, or undo all.

    Args:
        out: The manifest; masks go into the folder `STEM_masks` beside it.
        text: Its text.
        draw_masks: Writes the masks into a folder that it is given; None where there are none.
        overwrite: Whether an existing manifest and its masks may be replaced.

    Raises:
        DataError: If they exist and may not be replaced.
        WriteError: If the disk refuses it.
    """
    stage = temporary_folder(out)
    try:
        (stage / _NEW).mkdir()
        if draw_masks is not None:
            draw_masks(stage / _NEW)
        write_file(stage / _MANIFEST, text)
        with _alone(out):
            _check_out(out, masks_of(out), overwrite=overwrite)  # another process may have written them meanwhile
            try:
                _move(stage, out, with_masks=draw_masks is not None)
            finally:
                _undo(stage, out)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def masks_of(out: Path) -> Path:
    """The folder of a manifest's masks."""
    return out.parent / f"{out.stem}_masks"


def _check_out(out: Path, masks: Path, *, overwrite: bool) -> None:
    for path in (out, masks):
        if path.exists() and not overwrite:
            raise DataError(f"{path} exists. Choose another name with -o, or pass --overwrite.")
    others = [file.name for file in masks.iterdir() if not _MASK_NAME.fullmatch(file.name)] if masks.is_dir() else []
    if out.is_dir() or masks.is_file() or others:
        held = f"{masks} holds other files ({others[0]})" if others else f"{out} or {masks} is of another kind"
        raise DataError(f"{held} and is not replaced. Choose another name with -o.")


def _move(stage: Path, out: Path, *, with_masks: bool) -> None:
    """Move what lies in a stage to its places; the manifest comes last."""
    masks = masks_of(out)
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
    masks = masks_of(out)
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
