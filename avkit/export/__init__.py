# SPDX-License-Identifier: Apache-2.0
"""Writes scenes in the file layouts of official datasets, so that their readers and the authors' code run on them."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.errors import DataError, unknown_name
from avkit.files import write_file

if TYPE_CHECKING:
    from avkit.export.base import Layout

#: Name on the command line, and the class as "module:Class".
LAYOUTS: dict[str, str] = {
    "ave": "avkit.export.events:AVE",
    "llp": "avkit.export.events:LLP",
    "avsbench-s4": "avkit.export.masks:S4",
    "avsbench-ms3": "avkit.export.masks:MS3",
    "avsbench-avss": "avkit.export.masks:AVSS",
    "vggss": "avkit.export.regions:VGGSS",
    "music-avqa": "avkit.export.questions:MusicAVQA",
    "avqa": "avkit.export.questions:AVQA",
    "unav100": "avkit.export.events:UnAV100",
    "ref-avs": "avkit.export.masks:RefAVS",
    "ra-ssu": "avkit.export.regions:RASSU",
    "manifest": "avkit.export.regions:Manifest",
}


def export(
    layout: str,
    out: str | Path,
    counts: dict[str, int],
    image_size: int = 224,
    fps: float = 8.0,
    seed: int = 0,
    *,
    features: bool = True,
    on_clip: Callable[[str], None] | None = None,
) -> Path:
    """Write scenes in an official layout.

    Args:
        layout: A name in `LAYOUTS`.
        out: Folder to write, which must not exist or be empty.
        counts: Number of clips by split.
        image_size: Height and width of pictures and masks.
        fps: Frames per second of videos; RA-SSU always has 30.
        seed: Of the scenes.
        features: Write features too, where the layout has some.
        on_clip: Called with the name of each clip once it is written.

    Returns:
        The folder.

    Raises:
        ValueError: If the layout is unknown, or a count is negative.
        DataError: If the folder is not empty, or hardly any scene fits the layout.
    """
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    if min(counts.values()) < 0 or not any(counts.values()):
        raise ValueError(f"counts are {counts}; give the clips of each split, at least one in all.")
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty. Choose another folder, or delete this one.")
    from avkit.datasets.scenes import MARKER

    writer = _find_layout(layout)(folder, image_size, fps, seed, features=features)
    for split, count in counts.items():
        for scene, question in writer.scenes(split, count):
            name = writer.add(scene, question, split)
            if on_clip is not None:
                on_clip(name)
    writer.finish()
    facts = {"content": "scenes of avkit: drawn shapes with synthetic sounds", "layout": layout, "seed": seed}
    write_file(folder / MARKER, json.dumps(facts, indent=1))
    return folder


def _find_layout(name: str) -> type["Layout"]:
    module, _, attribute = LAYOUTS[name].partition(":")
    layout: type[Layout] = vars(import_module(module))[attribute]
    return layout
