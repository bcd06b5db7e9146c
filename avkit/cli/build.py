# SPDX-License-Identifier: Apache-2.0
"""`avkit build f-music|f-lifescene`: clips for annotation, from MUSIC-AVQA or VGGSound."""

import argparse
import sys
from pathlib import Path

#: Kinds of clips, in the order of the table.
_KINDS = ("single", "multi", "overlay", "stitched")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit build",
        description="Ten-second clips of f-Music (from MUSIC-AVQA) or f-Lifescene (from VGGSound) for annotation. The "
        "same videos and seed give the same clips; start it again after a stop of any kind.",
    )
    p.add_argument("dataset", choices=["f-music", "f-lifescene"])
    p.add_argument("--root", type=Path, required=True, help="folder of MUSIC-AVQA or VGGSound")
    p.add_argument("--out", type=Path, required=True, help="folder of the dataset")
    p.add_argument(
        "--keywords", help="separated by commas; the instruments, or VGGSound's 61 largest labels by default"
    )
    p.add_argument("--single", type=int, default=100, help="most clips per keyword")
    p.add_argument("--least", type=int, default=1, help="leave out keywords with fewer clips")
    p.add_argument("--multi", type=int, default=1000, help="most clips of several keywords")
    p.add_argument("--overlay", type=int, default=400, help="clips with another's sound laid over")
    p.add_argument("--stitched", type=int, default=400, help="clips of two side by side")
    p.add_argument("--side", type=int, default=512, help="height and width in pixels")
    p.add_argument("--fps", type=int, default=30, help="frames per second")
    p.add_argument("--seconds", type=float, default=10.0, help="length of a clip")
    p.add_argument("--release", help="release of MUSIC-AVQA's annotations")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--workers", type=int, default=2, help="clips made at the same time")
    p.add_argument("--plan", action="store_true", help="print what would be made, make nothing")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    return p


def run(args: list[str]) -> int:
    """Plan and make; the exit code is 1 where clips could not be made."""
    options = parser().parse_args(args)
    for name in ("single", "multi", "overlay", "stitched", "workers"):
        if getattr(options, name) < 0:
            raise ValueError(f"--{name} is {getattr(options, name)}; give 0 or more.")
    if options.side < 2 or options.side % 2 or options.fps < 1 or not options.seconds > 0:
        raise ValueError("--side is an even number of pixels, --fps and --seconds are above 0.")
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Table

    from avkit.corpora.clips import Form, build
    from avkit.corpora.plan import Recipe, choose_keywords, make_plan, music_videos, vggsound_videos

    music = options.dataset == "f-music"
    found = music_videos(options.root, options.release) if music else vggsound_videos(options.root)
    recipe = Recipe(
        options.dataset,
        options.single,
        options.least,
        options.multi,
        options.overlay,
        options.stitched,
        (0.75, 0.10, 0.15) if music else (0.70, 0.15, 0.15),
        options.seed,
    )
    plan = make_plan(found, recipe, choose_keywords(found, options.dataset, options.keywords))
    table = Table(box=None, pad_edge=False)
    for heading in ("split", *_KINDS):
        table.add_column(heading, justify="left" if heading == "split" else "right")
    for split in ("train", "val", "test"):
        counts = [sum((c.kind, c.split) == (kind, split) for c in plan.clips) for kind in _KINDS]
        table.add_row(split, *map(str, counts))
    console = Console()
    console.print(table)
    for note in plan.notes:
        console.print(f"note {note}", style="yellow", markup=False, highlight=False)
    if options.plan:
        return 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        there = sum((options.out / "clips" / clip.name / "meta.json").is_file() for clip in plan.clips)
        task = bar.add_task(options.dataset, total=len(plan.clips), completed=there)
        form = Form(options.seconds, options.fps, options.side)
        built = build(plan, options.dataset, options.out, form, options.workers, lambda name: bar.advance(task))
    print(f"{built.done} clips of {len(plan.classes)} classes under {options.out}, {built.new} of them new")
    for name, reason in list(built.failed.items())[:5]:
        print(f"avkit build: {name}: {reason}", file=sys.stderr)
    if built.failed:
        print(f"avkit build: {len(built.failed)} clips could not be made.", file=sys.stderr)
    print("masks and sentences are still missing: they go into each clip's masks/*.png and captions.jsonl")
    return 1 if built.failed else 0
