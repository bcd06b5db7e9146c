# SPDX-License-Identifier: Apache-2.0
"""`avkit check DATASET --root R`: what of a dataset is there, what is missing, what does not fit."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avkit.datasets.check import State


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit check",
        description="What of a dataset is on disk. The exit code is 0 where all is there and can be read, 1 where "
        "something is missing or does not fit, 2 where nothing could be checked.",
    )
    p.add_argument("dataset", help="name of a dataset, see avkit info")
    p.add_argument("--root", type=Path, help="folder of the dataset")
    p.add_argument("--manifest", type=Path, help="the JSON Lines file, for dataset manifest")
    p.add_argument("--release", help="release of the annotations")
    p.add_argument("--visual", help="features to be read instead of pictures: a name, a store, or a folder of .npy")
    p.add_argument("--audio", help="features to be read instead of sound")
    p.add_argument("--quick", action="store_true", help="look at names alone, open no media")
    p.add_argument("--json", action="store_true", help="print JSON instead of tables")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    return p


def run(args: list[str]) -> int:
    """Check and print."""
    options = parser().parse_args(args)
    state = _look(options)
    if options.json:
        print(json.dumps(state.as_dict(), indent=1))
    else:
        show(state)
    return 0 if state.ok else 1


def _look(options: argparse.Namespace) -> "State":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    from avkit.datasets import find_dataset
    from avkit.datasets.check import check_dataset, check_lines
    from avkit.datasets.manifest import Manifest, read_lines
    from avkit.datasets.official import Official

    found = find_dataset(options.dataset)
    bar = Progress(
        SpinnerColumn(),
        TextColumn("opening files"),
        BarColumn(),
        MofNCompleteColumn(),
        console=(console := Console(stderr=True)),
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("files", total=None)

        def each() -> None:
            bar.advance(task)

        if issubclass(found, Official):
            if options.root is None:
                raise ValueError(f"Name the folder of {found.title} with --root.")
            return check_dataset(
                found, options.root, options.release, options.visual, options.audio, not options.quick, each
            )
        if not issubclass(found, Manifest) or options.manifest is None:
            raise ValueError(
                "Name the file with --manifest."
                if issubclass(found, Manifest)
                else f"{options.dataset!r} lies on no disk and needs no check."
            )
        root = options.root or options.manifest.parent
        return check_lines(read_lines(options.manifest, root), "manifest", root, each)


def show(state: "State") -> None:
    """Print tables."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    release = f", release {state.release}" if state.release not in ("", "official") else ""
    console.print(f"[bold]{state.dataset}[/]{escape(release)} under {escape(state.root)}", highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in ("split", "listed", "official", "there", "coverage", "missing"):
        table.add_column(name, justify="left" if name in ("split", "missing") else "right")
    for s in state.splits:
        missing = ", ".join(f"{count} without {what}" for what, count in s.missing.items())
        share = f"{100 * s.present / s.listed:.1f} %" if s.listed else "-"
        table.add_row(
            s.split, str(s.listed), "-" if s.official is None else str(s.official), str(s.present), share, missing
        )
    console.print(table)
    for name, count in state.features.items():
        console.print(f"features {escape(name)}: {count} clips", highlight=False)
    for problem in state.problems:
        mark = "[red]x[/]" if problem.fatal else "[yellow]note[/]"
        where = f"{problem.split}: " if problem.split else ""
        number = f"{problem.count} " if problem.count and not problem.what[0].isdigit() else ""
        few = f" ({', '.join(problem.examples)}{', ...' if problem.count > len(problem.examples) else ''})"
        text = f"{where}{number}{problem.what}{few if problem.examples else ''}"
        console.print(f"{mark} {escape(text)}", highlight=False)
    if any(s.missing for s in state.splits):
        console.print(f"get what is missing from: {escape(state.source)}", highlight=False)
    console.print(
        "[green]all is there and can be read[/]" if state.ok else "[red]something is missing or does not fit[/]"
    )
