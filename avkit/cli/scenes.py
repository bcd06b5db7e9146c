# SPDX-License-Identifier: Apache-2.0
"""`avkit scenes preview`: a contact sheet of the built-in scenes; `export`: scenes in official layouts."""

import argparse
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """The options of `avkit scenes`."""
    p = argparse.ArgumentParser(prog="avkit scenes", description="The built-in scenes: look at them, or write them.")
    sub = p.add_subparsers(dest="command", required=True)
    _preview_options(sub.add_parser("preview", help="a PNG with pictures, masks, captions, questions and sound"))
    _export_options(sub.add_parser("export", help="scenes as files in the layout of an official dataset"))
    return p


def run(args: list[str]) -> int:
    """Draw a contact sheet, or write files."""
    options = parser().parse_args(args)
    if options.command == "export":
        return _export(options)
    return _preview(options)


def _preview_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--out", type=Path, default=Path("scenes.png"), help="the PNG to write")
    p.add_argument("--count", type=int, default=4, help="number of scenes")
    p.add_argument("--split", default="train", choices=["train", "val", "test"])
    p.add_argument("--first", type=int, default=0, help="number of the first scene")
    p.add_argument("--seed", type=int, default=0, help="another seed gives other scenes")
    p.add_argument("--untrimmed", action="store_true", help="long scenes with dense events")
    p.add_argument("--close", action="store_true", help="close-ups of two things, for sound localisation")


def _preview(options: argparse.Namespace) -> int:
    if options.count < 1:
        raise ValueError(f"--count is {options.count}; draw at least 1 scene.")
    from avkit.scenes import sample_scene
    from avkit.scenes.preview import contact_sheet

    scenes = []
    for number in range(options.first, options.first + options.count):
        scenes.append(sample_scene(number, options.split, options.seed, options.untrimmed, options.close))
    contact_sheet(scenes, options.out)
    print(options.out)
    return 0


def _export_options(p: argparse.ArgumentParser) -> None:
    from avkit.export import LAYOUTS

    p.add_argument("--layout", required=True, help=f"one of {', '.join(LAYOUTS)}")
    p.add_argument("--out", type=Path, required=True, help="folder to write, new or empty")
    p.add_argument("--train", type=int, default=64, help="clips of the train split")
    p.add_argument("--val", type=int, default=16, help="clips of the val split")
    p.add_argument("--test", type=int, default=16, help="clips of the test split")
    p.add_argument("--image_size", type=int, default=224, help="height and width of pictures and masks")
    p.add_argument("--fps", type=float, default=8.0, help="frames per second of videos (RA-SSU: always 30)")
    p.add_argument("--seed", type=int, default=0, help="another seed gives other scenes")
    p.add_argument("--no_features", action="store_true", help="write no synthetic features")


def _export(options: argparse.Namespace) -> int:
    from rich.progress import Progress

    from avkit.export import export

    counts = {"train": options.train, "val": options.val, "test": options.test}
    clips = sum(counts.values())
    with Progress() as progress:
        bar = progress.add_task(f"scenes as {options.layout}", total=clips)
        folder = export(
            options.layout,
            options.out,
            counts,
            options.image_size,
            options.fps,
            options.seed,
            features=not options.no_features,
            on_clip=lambda name: progress.advance(bar),
        )
    print(f"{clips} clips: {folder}")
    return 0
