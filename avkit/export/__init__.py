# SPDX-License-Identifier: Apache-2.0
"""Scenes as files in the layouts of official datasets, so that their readers, and their authors' code, run on them."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from avkit.errors import DataError, unknown_name

#: Name on the command line, and where the layout lives.
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
    picture: int = 224,
    fps: float = 8.0,
    seed: int = 0,
    features: bool = True,
    each: Callable[[str], None] | None = None,
) -> Path:
    """Write scenes in an official layout.

    Args:
        layout: A name in `LAYOUTS`.
        out: Folder to write, which must not exist or be empty.
        counts: Clips by split.
        picture: Height and width of pictures and masks.
        fps: Pictures per second of videos; RA-SSU has 30 whatever is given.
        seed: Of the world of scenes.
        features: Write features too, where the layout has some.
        each: Called with the name of each clip once it is written.

    Raises:
        ValueError: If the layout is unknown, or a count is negative.
        DataError: If the folder holds something.
    """
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    if min(counts.values()) < 0 or not any(counts.values()):
        raise ValueError(f"counts are {counts}; give the clips of each split, at least one in all.")
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty. Choose another folder, or delete this one.")
    module, _, attribute = LAYOUTS[layout].partition(":")
    writer = getattr(import_module(module), attribute)(folder, picture, fps, seed, features)
    for split, count in counts.items():
        for scene, question in writer.scenes(split, count):
            name = writer.add(scene, question, split)
            if each is not None:
                each(name)
    writer.finish()
    return folder
