# SPDX-License-Identifier: Apache-2.0
"""Converting files of annotations into a manifest, with masks beside it, all or nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from avkit.datasets.converters import FORMATS, find_reader, list_files
from avkit.datasets.converters.lines import Lines, find_media, make_lines, merge_clips
from avkit.datasets.converters.masks import draw_mask
from avkit.datasets.converters.media_folder import MediaFolder
from avkit.datasets.converters.notes import ClipNotes
from avkit.datasets.converters.options import ImportOptions
from avkit.datasets.converters.replace import prepare, replace_manifest
from avkit.datasets.json_records import annotation_errors
from avkit.errors import DataError


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
    prepare(out, overwrite=overwrite)
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
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines.lines)
    draw = partial(_draw_masks, lines) if lines.masks else None
    replace_manifest(out, text, draw, overwrite=overwrite)
    counts: dict[str, int] = {}
    for line in lines.lines:
        for key, value in line.items():
            if isinstance(value, list):
                counts[key] = counts.get(key, 0) + len(value)
    return Imported(out, len(lines.lines), counts, lines.frames_left_out)


def _draw_masks(lines: Lines, folder: Path) -> None:
    import numpy as np
    from PIL import Image

    for plan in lines.masks:
        values = draw_mask(plan, lines.classes)
        if len(lines.classes) < 256 and values.max(initial=0) < 256:
            values = values.astype(np.uint8)
        Image.fromarray(values).save(folder / Path(plan.name).name)
