# SPDX-License-Identifier: Apache-2.0
"""`avkit build f-music|f-lifescene`: clips for annotation, from MUSIC-AVQA or VGGSound."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avkit.corpora.clips import BuildSummary
    from avkit.corpora.plan import CorpusPlan

#: Kinds of clips, in the order of the table.
_KINDS = ("single", "multi", "overlay", "stitched")
#: Maximum number of failed clips that are named.
_MAX_FAILURES = 5
#: Shares of train, val and test. Source: RA-SSU (paper), section III-B.
_SHARES = {"f-music": (0.75, 0.10, 0.15), "f-lifescene": (0.70, 0.15, 0.15)}


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
    p.add_argument("--single", type=int, default=100, help="maximum number of clips per keyword")
    p.add_argument(
        "--fill",
        type=int,
        default=50,
        help="number of clips of a keyword with fewer videos: several of a video where they fit; 0 for one of each",
    )
    p.add_argument("--min-clips", type=int, default=1, help="leave out keywords with fewer clips")
    p.add_argument("--multi", type=int, default=1000, help="maximum number of clips of several keywords")
    p.add_argument("--overlay", type=int, default=400, help="number of clips with another's sound laid over")
    p.add_argument("--stitched", type=int, default=400, help="number of clips of two side by side")
    p.add_argument("--side", type=int, default=512, help="height and width in pixels")
    p.add_argument("--fps", type=int, default=30, help="frames per second")
    p.add_argument("--seconds", type=float, default=10.0, help="length of a clip")
    p.add_argument("--release", help="release of MUSIC-AVQA's annotations")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--workers", type=int, default=2, help="number of clips made at the same time")
    p.add_argument("--plan", action="store_true", help="print what would be made, make nothing")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    return p


def run(args: list[str]) -> int:
    """Plan and make; the exit code is 1 where clips could not be made."""
    options = parser().parse_args(args)
    _check_options(options)
    plan = _make_plan(options)
    _show_plan(plan)
    if options.plan:
        return 0
    summary = _build(options, plan)
    print(f"{summary.done} clips of {len(plan.classes)} classes under {options.out}, {summary.new} of them new")
    for name, reason in list(summary.failed.items())[:_MAX_FAILURES]:
        print(f"avkit build: {name}: {reason}", file=sys.stderr)
    if summary.failed:
        print(f"avkit build: {len(summary.failed)} clips could not be made.", file=sys.stderr)
    print("masks and sentences are still missing: they go into each clip's masks/*.png and captions.jsonl")
    return 1 if summary.failed else 0


def _check_options(options: argparse.Namespace) -> None:
    counts = {
        "single": options.single,
        "fill": options.fill,
        "multi": options.multi,
        "overlay": options.overlay,
        "stitched": options.stitched,
        "workers": options.workers,
    }
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"--{name} is {count}; give 0 or more.")
    if options.side < 2 or options.side % 2 or options.fps < 1 or not options.seconds > 0:
        raise ValueError("--side is an even number of pixels, --fps and --seconds are above 0.")


def _make_plan(options: argparse.Namespace) -> "CorpusPlan":
    from avkit.corpora.plan import CorpusRecipe, make_plan
    from avkit.corpora.videos import choose_keywords, measure_rare, music_videos, vggsound_videos

    if options.dataset == "f-music":
        videos = music_videos(options.root, options.release)
    else:
        videos = vggsound_videos(options.root)
    recipe = CorpusRecipe(
        single=options.single,
        fill=options.fill,
        min_clips=options.min_clips,
        multi=options.multi,
        overlay=options.overlay,
        stitched=options.stitched,
        shares=_SHARES[options.dataset],
        seconds=options.seconds,
        seed=options.seed,
    )
    keywords = choose_keywords(videos, options.dataset, options.keywords)
    videos = measure_rare(videos, keywords, min(recipe.fill, recipe.single))
    return make_plan(videos, recipe, keywords)


def _show_plan(plan: "CorpusPlan") -> None:
    """Print the number of clips by split and kind, and what fell short."""
    from collections import Counter

    from rich.console import Console
    from rich.table import Table

    counts = Counter((clip.split, clip.kind) for clip in plan.clips)
    table = Table(box=None, pad_edge=False)
    table.add_column("split", justify="left")
    for kind in _KINDS:
        table.add_column(kind, justify="right")
    for split in ("train", "val", "test"):
        table.add_row(split, *(str(counts[split, kind]) for kind in _KINDS))
    console = Console()
    console.print(table)
    for note in plan.notes:
        console.print(f"note {note}", style="yellow", markup=False, highlight=False)


def _build(options: argparse.Namespace, plan: "CorpusPlan") -> "BuildSummary":
    """Make the clips, with a progress bar."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from avkit.corpora.clips import ClipFormat, build_clips, is_complete

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        completed = sum(is_complete(options.out, clip) for clip in plan.clips)
        task = bar.add_task(options.dataset, total=len(plan.clips), completed=completed)
        form = ClipFormat(options.seconds, options.fps, options.side)
        return build_clips(plan, options.dataset, options.out, form, options.workers, lambda name: bar.advance(task))
