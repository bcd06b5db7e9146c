# SPDX-License-Identifier: Apache-2.0
"""`avkit import FORMAT FILE -o OUT.jsonl`: annotations of other tools into a manifest."""

import argparse
from pathlib import Path

from avkit.datasets.converters import FORMATS
from avkit.datasets.converters.masks import BOX_ONLY
from avkit.datasets.converters.options import ImportOptions
from avkit.datasets.manifest_schema import SPLITS


def run(args: list[str]) -> int:
    """Convert; `args` are the arguments after `avkit import`."""
    options = parser().parse_args(args)
    from avkit.datasets.converters.write import Imported, import_files

    settings = ImportOptions(
        media=options.media,
        fps=options.fps,
        first_frame=options.first_frame,
        hop=options.hop,
        split=options.split,
        modality=options.modality,
        label=options.label,
        captions=frozenset(_names(options.captions)),
        skip=frozenset(_names(options.skip)),
        box_only=options.box_only,
        columns=_columns(options.columns),
    )
    _check_settings(settings)
    result: Imported = import_files(options.format, options.files, options.out, settings, overwrite=options.overwrite)
    counts = [f"{count} {key}" for key, count in result.counts.items()]
    print(f"{result.out}: {result.clips} clips, {', '.join(counts) or 'nothing known of them'}")
    if result.frames_left_out:
        print(
            f"{result.frames_left_out} annotated frames are left out: another one is nearer to the middle of its step "
            f"of {settings.hop:g} s (--hop)"
        )
    print(f"check it: avkit check {result.out}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    formats = "; ".join(f"{name}: {entry.title}" for name, entry in FORMATS.items())
    p = argparse.ArgumentParser(
        prog="avkit import",
        description="Annotations of other tools into a manifest, checked before anything is written. Masks go into a "
        "folder beside it. What of each format is taken: docs/importing.md.",
        epilog=f"formats: {formats}.",
    )
    p.add_argument("format", help="the format")
    p.add_argument("files", nargs="+", type=Path, metavar="FILE", help="annotation files, or folders of them")
    p.add_argument("-o", "--out", type=Path, required=True, help="the manifest to write")
    p.add_argument("--media", type=Path, help="folder of the media files; by default that of FILE")
    p.add_argument("--fps", type=float, help="frames per second at which frames are numbered")
    p.add_argument("--first_frame", type=int, default=0, help="number of the first frame in names of pictures")
    p.add_argument("--hop", type=float, default=1.0, help="seconds of a step; boxes and masks are kept once per step")
    p.add_argument("--split", choices=SPLITS, help="the split of all lines; by default drawn when training")
    p.add_argument("--modality", choices=("audio", "visual", "both"), help="the modality of all events")
    p.add_argument("--label", help="the attribute that names the class, where there are several")
    p.add_argument("--captions", default="", help="tiers or controls whose texts are captions, separated by commas")
    p.add_argument("--skip", default="", help="shapes, tiers, controls or columns to leave out, separated by commas")
    p.add_argument(
        "--box_only",
        choices=BOX_ONLY,
        help="objects with a box alone in a picture with masks: fill the box, count them as background, or drop the "
        "picture's masks; by default an error",
    )
    p.add_argument("--columns", default="", help="of a table: OURS=THEIRS, separated by commas, such as label=class")
    p.add_argument("--overwrite", action="store_true", help="replace an existing manifest and its masks")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    return p


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    return [name for name in names if name]


def _columns(text: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for entry in _names(text):
        ours, sign, theirs = entry.partition("=")
        if not sign or not ours or not theirs:
            raise ValueError(f"--columns takes OURS=THEIRS, such as label=class; got {entry!r}.")
        pairs.append((ours.strip(), theirs.strip()))
    return tuple(pairs)


def _check_settings(settings: ImportOptions) -> None:
    for name, value in (("fps", settings.fps), ("hop", settings.hop)):
        if value is not None and not 0 < value < 1e6:
            raise ValueError(f"--{name} is {value:g}; it takes a number above 0.")
    if settings.media is not None and not settings.media.is_dir():
        raise ValueError(f"--media {str(settings.media)!r} is no folder. Give the one in which the media files lie.")
