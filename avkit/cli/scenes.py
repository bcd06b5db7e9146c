# SPDX-License-Identifier: Apache-2.0
"""`avkit scenes preview`: a contact sheet of the built-in scenes."""

import argparse
from pathlib import Path


def run(args: list[str]) -> int:
    """Draw a contact sheet."""
    p = argparse.ArgumentParser(prog="avkit scenes", description="Look at the built-in scenes.")
    sub = p.add_subparsers(dest="command", required=True)
    preview = sub.add_parser("preview", help="a PNG with pictures, masks, captions, questions and sound")
    preview.add_argument("--out", type=Path, default=Path("scenes.png"), help="the PNG to write")
    preview.add_argument("--count", type=int, default=4, help="number of scenes")
    preview.add_argument("--split", default="train", choices=["train", "val", "test"])
    preview.add_argument("--first", type=int, default=0, help="number of the first scene")
    preview.add_argument("--seed", type=int, default=0, help="of the world")
    preview.add_argument("--untrimmed", action="store_true", help="long scenes with dense events")
    preview.add_argument("--close", action="store_true", help="close-ups of two things, for sound localisation")
    options = p.parse_args(args)
    if options.count < 1:
        raise ValueError(f"--count is {options.count}; draw at least 1 scene.")
    from avkit.scenes import sample_scene
    from avkit.scenes.preview import contact_sheet

    numbers = range(options.first, options.first + options.count)
    scenes = [sample_scene(i, options.split, options.seed, options.untrimmed, options.close) for i in numbers]
    contact_sheet(scenes, options.out)
    print(options.out)
    return 0
