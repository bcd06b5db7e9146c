# SPDX-License-Identifier: Apache-2.0
"""`avkit scenes preview`: a contact sheet of the built-in scenes; `export`: scenes in official layouts."""

import argparse
from pathlib import Path


def run(args: list[str]) -> int:
    """Draw a contact sheet, or write files."""
    p = argparse.ArgumentParser(prog="avkit scenes", description="The built-in scenes: look at them, or write them.")
    sub = p.add_subparsers(dest="command", required=True)
    preview = sub.add_parser("preview", help="a PNG with pictures, masks, captions, questions and sound")
    preview.add_argument("--out", type=Path, default=Path("scenes.png"), help="the PNG to write")
    preview.add_argument("--count", type=int, default=4, help="number of scenes")
    preview.add_argument("--split", default="train", choices=["train", "val", "test"])
    preview.add_argument("--first", type=int, default=0, help="number of the first scene")
    preview.add_argument("--seed", type=int, default=0, help="of the world")
    preview.add_argument("--untrimmed", action="store_true", help="long scenes with dense events")
    preview.add_argument("--close", action="store_true", help="close-ups of two things, for sound localisation")
    _export_options(sub.add_parser("export", help="scenes as files in the layout of an official dataset"))
    options = p.parse_args(args)
    if options.command == "export":
        return _export(options)
    if options.count < 1:
        raise ValueError(f"--count is {options.count}; draw at least 1 scene.")
    from avkit.scenes import sample_scene
    from avkit.scenes.preview import contact_sheet

    numbers = range(options.first, options.first + options.count)
    scenes = [sample_scene(i, options.split, options.seed, options.untrimmed, options.close) for i in numbers]
    contact_sheet(scenes, options.out)
    print(options.out)
    return 0


def _export_options(p: argparse.ArgumentParser) -> None:
    from avkit.export import LAYOUTS

    p.add_argument("--layout", required=True, help=f"one of {', '.join(LAYOUTS)}")
    p.add_argument("--out", type=Path, required=True, help="folder to write, new or empty")
    for split, count in (("train", 64), ("val", 16), ("test", 16)):
        p.add_argument(f"--{split}", type=int, default=count, help=f"clips of the {split} split")
    p.add_argument("--picture", type=int, default=224, help="height and width of pictures and masks")
    p.add_argument("--fps", type=float, default=8.0, help="pictures per second of videos (RA-SSU: always 30)")
    p.add_argument("--seed", type=int, default=0, help="of the world")
    p.add_argument("--no_features", action="store_true", help="leave out the features that stand in for networks'")


def _export(options: argparse.Namespace) -> int:
    from rich.progress import track

    from avkit.export import export

    counts = {split: getattr(options, split) for split in ("train", "val", "test")}
    names: list[str] = []
    bar = iter(track(range(sum(counts.values())), description=f"scenes as {options.layout}"))
    next(bar, None)

    def each(name: str) -> None:
        names.append(name)
        next(bar, None)

    out = export(
        options.layout,
        options.out,
        counts,
        options.picture,
        options.fps,
        options.seed,
        not options.no_features,
        each,
    )
    print(f"{len(names)} clips: {out}")
    return 0
