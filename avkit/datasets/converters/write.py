# SPDX-License-Identifier: Apache-2.0
"""Converting files of annotations into a manifest, with masks beside it, all or nothing."""

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avkit.datasets.converters import FORMATS, find_reader, list_files
from avkit.datasets.converters.lines import Lines, draw_mask, find_media, make_lines, merge_clips
from avkit.datasets.converters.media_folder import MediaFolder
from avkit.datasets.converters.notes import ClipNotes
from avkit.datasets.converters.options import ImportOptions
from avkit.datasets.json_records import annotation_errors
from avkit.errors import DataError
from avkit.files import atomic, cannot_write

#: Names of the masks that are written here.
_MASK_NAME = re.compile(r"\d{5}_.*_\d{5}\.png")


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
    masks = out.parent / f"{out.stem}_masks"
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
    _write(lines, out, masks)
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


def _write(lines: Lines, out: Path, masks: Path) -> None:
    """Write masks and manifest: first beside their places, then all at once."""
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines.lines)
    with atomic(out) as part:
        part.write_text(text, encoding="utf-8")
        try:
            stage = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{masks.name}-"))
        except OSError as error:
            raise cannot_write(masks, error) from error
        try:
            _draw_masks(lines, stage / "new")
            if masks.exists():
                masks.rename(stage / "old")
            if lines.masks:
                (stage / "new").rename(masks)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def _draw_masks(lines: Lines, folder: Path) -> None:
    import numpy as np
    from PIL import Image

    folder.mkdir()
    kind = np.uint8 if len(lines.classes) < 256 else np.uint16
    for plan in lines.masks:
        values = draw_mask(plan, lines.classes).astype(kind)
        Image.fromarray(values).save(folder / Path(plan.name).name)
