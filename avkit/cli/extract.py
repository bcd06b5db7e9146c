# SPDX-License-Identifier: Apache-2.0
"""`avkit extract DATASET --root R --recipe NAME`: videos through pretrained networks into feature stores."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.errors import DataError

if TYPE_CHECKING:
    from rich.progress import Progress

    from avkit.extraction.recipe import Recipe
    from avkit.extraction.sources import Source


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit extract",
        description="Videos through networks into feature stores, one per stream. Start it again after a stop of any "
        "kind: what is done stays done.",
    )
    p.add_argument("dataset", nargs="?", help="name of a dataset, or a folder of videos")
    p.add_argument("--root", type=Path, help="folder of the dataset")
    p.add_argument("--recipe", default="av_unified", help="name of a recipe, or a YAML file of yours")
    p.add_argument("--list", action="store_true", help="print the recipes")
    p.add_argument("--out", type=Path, help="folder of the stores; ROOT/features by default")
    p.add_argument("--release", help="release of the annotations, which say what clips there are")
    p.add_argument("--weights", help="'none' for random weights, or stream=PATH,...; the recipe's by default")
    p.add_argument("--device", help="such as cpu or cuda; the GPU if there is one")
    p.add_argument("--workers", type=int, help="processes that decode; the cores by default")
    p.add_argument("--batch", type=int, default=64, help="pictures at a time")
    p.add_argument("--limit", type=int, help="stop after so many clips")
    p.add_argument("--retry", action="store_true", help="try clips again that were set aside")
    p.add_argument("--ray", type=int, metavar="N", help="spread over N Ray workers (pip install 'avkit[ray]')")
    p.add_argument("--ray-address", help="an existing cluster, such as auto; a local one by default")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    return p


def run(args: list[str]) -> int:
    """Extract; the exit code is 1 where clips were set aside."""
    options = parser().parse_args(args)
    from avkit.extraction.recipe import read_recipe

    if options.list:
        return _list()
    if options.dataset is None:
        raise ValueError("Name a dataset or a folder of videos: avkit extract llp --root R --recipe llp.")
    for name in ("workers", "batch", "limit", "ray"):
        if (value := getattr(options, name)) is not None and value < (0 if name == "workers" else 1):
            raise ValueError(f"--{name} is {value}; give a number above 0.")
    recipe = read_recipe(options.recipe).with_weights(options.weights)
    if recipe.bring:
        raise DataError(recipe.bring)
    sources, absent, out = _sources(options)
    if absent:
        print(
            f"avkit extract: {absent} clips have no media on disk and are left out; see avkit check.", file=sys.stderr
        )
    failed = 0
    if any(s.of != "text" for s in recipe.streams):
        failed = _media(options, recipe, sources[: options.limit], out)
    _texts(options, recipe, out)
    return 1 if failed else 0


def _list() -> int:
    from rich.console import Console
    from rich.table import Table

    from avkit.extraction.recipe import read_recipe, recipes

    table = Table(box=None, pad_edge=False)
    for heading in ("recipe", "what it extracts", "stores"):
        table.add_column(heading)
    for name in recipes():
        recipe = read_recipe(name)
        table.add_row(name, recipe.about, ", ".join(s.name for s in recipe.streams) or "bring them yourself")
    Console().print(table)
    return 0


def _sources(options: argparse.Namespace) -> "tuple[list[Source], int, Path]":
    """Clips, how many have no media, and where stores go."""
    from avkit.datasets import find_dataset
    from avkit.datasets.official import Official
    from avkit.extraction.sources import sources_in, sources_of

    if Path(options.dataset).is_dir() and options.root is None:
        return sources_in(options.dataset), 0, options.out or Path(options.dataset) / "features"
    found = find_dataset(options.dataset)
    if not issubclass(found, Official):
        raise ValueError(
            f"{options.dataset!r} has no media of its own. Name an official dataset, or a folder of videos."
        )
    if options.root is None:
        raise ValueError(f"Name the folder of {found.title} with --root.")
    sources, absent = sources_of(found, options.root, options.release)
    return sources, absent, options.out or options.root / "features"


def _media(options: argparse.Namespace, recipe: "Recipe", sources: "Sequence[Source]", out: Path) -> int:
    """Extract pictures and sound; how many clips were set aside."""
    import os

    import torch

    from avkit.cli.lightning_setup import no_gpu
    from avkit.extraction.extract import extract

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if (reason := no_gpu(device.partition(":")[0], f"--device {device}")) is not None:
        raise ValueError(reason)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = cores if options.workers is None else options.workers
    if device == "cpu" and workers:
        torch.set_num_threads(max(1, cores - workers // 2))
    spread = None
    if options.ray or options.ray_address:
        from avkit.extraction.cluster import spread_over

        spread = spread_over(recipe, options.ray or 2, options.ray_address, device, options.batch)
    with _bar() as bar:
        task = bar.add_task(recipe.name, total=None)

        def each(name: str, fault: str) -> None:
            bar.advance(task)
            if fault:
                bar.console.print(f"set aside {name}: {fault}", style="yellow", markup=False, highlight=False)

        outcome = extract(
            sources,
            recipe,
            out,
            options.dataset,
            device,
            options.batch,
            workers,
            options.retry,
            lambda done, total: bar.update(task, completed=done, total=total),
            each,
            spread,
        )
    print(
        f"{outcome.done} clips, {outcome.new} of them new, in "
        f"{', '.join(map(str, outcome.stores.values())) or 'no store'}"
    )
    if outcome.failed:
        print(f"avkit extract: {len(outcome.failed)} clips could not be read and are set aside:", file=sys.stderr)
        for name, reason in list(outcome.failed.items())[:5]:
            print(f"  {name}: {reason}", file=sys.stderr)
        print("  mend them and start again with --retry", file=sys.stderr)
    return len(outcome.failed)


def _texts(options: argparse.Namespace, recipe: "Recipe", out: Path) -> None:
    """Extract text features, where the recipe has some and the dataset too."""
    streams = [s for s in recipe.streams if s.of == "text"]
    if not streams:
        return
    import torch

    from avkit import __version__
    from avkit.datasets import find_dataset
    from avkit.extraction.extract import encode_texts
    from avkit.extraction.sources import text_of
    from avkit.features.arrays import FeatureFacts
    from avkit.features.store import write_store

    if options.root is None:
        names = ", ".join(s.name for s in streams)
        print(
            f"avkit extract: {names} left out: text features are made of a dataset's questions or classes.",
            file=sys.stderr,
        )
        return
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    for stream in streams:
        texts = text_of(find_dataset(options.dataset), options.root, stream, options.release)
        found, digest = encode_texts(stream, texts, device)
        facts = FeatureFacts(stream.encoder, dataset=options.dataset, weights=digest, made_by=f"avkit {__version__}")
        path = write_store(out / f"{stream.name}.h5", list(found.items()), facts, stream.dtype)
        print(f"{len(found)} {stream.texts} in {path}")


def _bar() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    class Rate(TextColumn):
        """Clips per second."""

        def __init__(self) -> None:
            super().__init__("")

        def render(self, task):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            from rich.text import Text

            return Text(f"{task.speed:.1f} clips/s" if task.speed else "")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
