# SPDX-License-Identifier: Apache-2.0
"""`avkit check DATASET --root R`: what of a dataset is present, what is missing, what does not fit."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.cli import check_figures

if TYPE_CHECKING:
    from rich.console import Console

    from avkit.datasets.check import TaskFields
    from avkit.datasets.check_state import DatasetState, Problem


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit check",
        description="What of a dataset is on disk. The exit code is 0 where all is present and can be read, 1 where "
        "something is missing or does not fit, 2 where nothing could be checked.",
    )
    p.add_argument(
        "dataset",
        nargs="?",
        help="name of a dataset, see avkit info; package.module:Class; or a manifest, such as x.jsonl",
    )
    p.add_argument("--root", type=Path, help="folder of the dataset")
    p.add_argument("--manifest", type=Path, help="the JSON Lines file, for dataset manifest")
    p.add_argument("--release", help="release of the annotations")
    p.add_argument("--tasks", help="tasks that are to be trained, separated by commas: is there what each reads?")
    p.add_argument("--visual", help="features to be read instead of pictures: a name, a store, or a folder of .npy")
    p.add_argument("--audio", help="features to be read instead of sound")
    p.add_argument("--hop", type=float, help="seconds per step, and between two rows of features that do not say it")
    p.add_argument("--silent-ok", action="store_true", help="use silence for videos without sound")
    p.add_argument("--allow-missing", action="store_true", help="of a manifest: leave out clips that are not there")
    p.add_argument("--allow-shared", action="store_true", help="of a manifest: allow clips in several splits")
    p.add_argument("--quick", action="store_true", help="look at names alone, open no media")
    p.add_argument("--statistics", action="store_true", help="count types, lengths, words, sources and areas too")
    p.add_argument("--plots", type=Path, metavar="FILE", help="draw the statistics: a .png, .svg or .pdf")
    p.add_argument("--agreement", type=Path, metavar="FILE", help="a manifest of somebody else: how far do both agree?")
    p.add_argument("--json", action="store_true", help="print JSON instead of tables")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    return p


def run(args: list[str]) -> int:
    """Check and print."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    options = parser().parse_args(args)
    _choose_dataset(options)
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("opening files"), BarColumn(), MofNCompleteColumn())
    statistics = None
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("files", total=None)
        state = _check(options, lambda: bar.advance(task))
        if options.statistics or options.plots is not None:
            statistics = check_figures.statistics_of(options, lambda: bar.advance(task))
        agreement = None if options.agreement is None else check_figures.agreement_of(options)
    if options.json:
        figures = {"statistics": statistics, "agreement": agreement}
        more = {name: value.as_dict() for name, value in figures.items() if value is not None}
        print(json.dumps(state.as_dict() | more, indent=1))
        return 0 if state.ok else 1
    show(state)
    if statistics is not None:
        check_figures.show_statistics(statistics, options.plots)
    if agreement is not None:
        check_figures.show_agreement(agreement, options.manifest, options.agreement)
    return 0 if state.ok else 1


def _choose_dataset(options: argparse.Namespace) -> None:
    """Take a manifest that is named in the place of a dataset, or by --manifest alone.

    Raises:
        ValueError: If nothing is named, or two things.
    """
    given: str | None = options.dataset
    is_file = given is not None and ":" not in given and (given.endswith(".jsonl") or Path(given).is_file())
    if given is not None and is_file:
        if options.manifest is not None:
            raise ValueError(f"Two manifests are named, {given} and {options.manifest}. Name one.")
        options.dataset = "manifest"
        options.manifest = Path(given)
    elif given is None:
        if options.manifest is None:
            raise ValueError("Name a dataset, see 'avkit info', or a manifest: avkit check x.jsonl.")
        options.dataset = "manifest"


def _check(options: argparse.Namespace, on_file: Callable[[], None]) -> "DatasetState":
    from avkit.datasets import DatasetOptions, find_dataset
    from avkit.datasets.check import check_dataset
    from avkit.datasets.check_manifest import check_manifest
    from avkit.datasets.manifest import Manifest
    from avkit.datasets.official import Official
    from avkit.datasets.splits import SplitOptions

    if options.hop is not None and not 0 < options.hop < float("inf"):
        raise ValueError(f"--hop is {options.hop}; it is a number of seconds above 0.")
    tasks = _task_fields(options.tasks) if options.tasks else {}
    dataset = find_dataset(options.dataset)
    if issubclass(dataset, Official):
        if options.manifest is not None:
            raise ValueError(f"{options.dataset!r} is no manifest, so --manifest {options.manifest} cannot go with it.")
        if options.root is None:
            raise ValueError(f"Name the folder of {dataset.title} with --root.")
        return check_dataset(
            dataset,
            options.root,
            options.release,
            options.visual,
            options.audio,
            hop=options.hop,
            silent_ok=options.silent_ok,
            tasks=tasks,
            open_files=not options.quick,
            on_file=on_file,
        )
    if not issubclass(dataset, Manifest):
        raise ValueError(
            f"{options.dataset!r} lists no files, so it needs no check. Manifests and classes of "
            "avkit.datasets.official.Official can be checked."
        )
    manifest = DatasetOptions(
        root=options.root,
        manifest=options.manifest,
        visual=options.visual,
        audio=options.audio,
        hop=options.hop,
        silent_ok=options.silent_ok,
        allow_missing=options.allow_missing,
        splits=SplitOptions(allow_shared=options.allow_shared),
    )
    return check_manifest(manifest, tasks, open_files=not options.quick, on_file=on_file)


def _task_fields(tasks: str) -> "dict[str, TaskFields]":
    """What tasks ask of the data, by their names."""
    from avkit.datasets.check import TaskFields
    from avkit.tasks import split_names
    from avkit.training.task_spec import task_specs

    fields = {}
    for name, spec in task_specs(split_names(tasks)).items():
        by_split = {split: spec.targets_of(split) for split in ("train", "val", "test")}
        fields[name] = TaskFields(by_split, spec.required_for_training)
    return fields


def show(state: "DatasetState") -> None:
    """Print tables."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    release = "" if state.release in ("", "official") else f", release {state.release}"
    console.print(f"[bold]{state.dataset}[/]{escape(release)} under {escape(state.root)}", highlight=False)
    _show_splits(state, console)
    for name, count in state.features.items():
        console.print(f"features {escape(name)}: {count} clips", highlight=False)
    for problem in state.problems:
        mark = "[red]x[/]" if problem.fatal else "[yellow]note[/]"
        console.print(f"{mark} {escape(_problem_text(problem))}", highlight=False, soft_wrap=True)
        for fault in problem.faults:
            console.print(f"    {escape(fault)}", highlight=False, soft_wrap=True)
    if any(split.missing for split in state.splits):
        console.print(f"get what is missing from: {escape(state.source)}", highlight=False)
    if state.ok:
        console.print("[green]all is there and can be read[/]")
    else:
        console.print("[red]something is missing or does not fit[/]")


def _show_splits(state: "DatasetState", console: "Console") -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("split", "listed", "official", "there", "coverage", "missing"):
        table.add_column(name, justify="left" if name in ("split", "missing") else "right")
    for split in state.splits:
        missing = [f"{count} without {lack}" for lack, count in split.missing.items()]
        table.add_row(
            split.split,
            str(split.listed),
            "-" if split.official is None else str(split.official),
            str(split.present),
            f"{100 * split.present / split.listed:.1f} %" if split.listed else "-",
            ", ".join(missing),
        )
    console.print(table)


def _problem_text(problem: "Problem") -> str:
    """A problem as one line: split, number, fault and examples."""
    text = f"{problem.split}: " if problem.split else ""
    if problem.count and not problem.what[0].isdigit():
        text += f"{problem.count} "
    text += problem.what
    if problem.examples:
        more = ", ..." if problem.count > len(problem.examples) else ""
        text += f" ({', '.join(problem.examples)}{more})"
    return text
