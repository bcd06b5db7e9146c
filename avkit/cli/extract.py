# SPDX-License-Identifier: Apache-2.0
"""`avkit extract DATASET --root R --recipe NAME`: features of videos or of built-in scenes in feature stores."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.cli.threads import available_cores
from avkit.cli.trust import add_switches

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from avkit.extraction.extract import ExtractionSummary, OnClip, Runner
    from avkit.extraction.recipe import ExtractionRecipe
    from avkit.extraction.sources import MediaSource


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit extract",
        description="Videos through networks into feature stores, one per stream. Start it again after a stop of any "
        "kind: what is done stays done.",
    )
    p.add_argument("dataset", nargs="?", help="name of a dataset, a folder of videos, or scenes, the built-in ones")
    p.add_argument("--root", type=Path, help="folder of the dataset")
    p.add_argument("--recipe", default="av_unified", help="name of a recipe, or a YAML file of yours")
    p.add_argument("--list", action="store_true", help="print the recipes")
    p.add_argument("--out", type=Path, help="folder of the stores; ROOT/features by default, of scenes scenes_features")
    p.add_argument("--release", help="release of the annotations, which say what clips there are")
    p.add_argument("--weights", help="'none' for random weights, or stream=PATH,...; the recipe's by default")
    p.add_argument("--device", help="such as cpu or cuda; the GPU if there is one")
    p.add_argument("--workers", type=int, help="processes that decode; the cores by default")
    p.add_argument("--batch", type=int, default=64, help="pictures at a time")
    p.add_argument("--limit", type=int, help="stop after so many clips")
    p.add_argument(
        "--form", choices=("hdf5", "shards"), default="hdf5", help="a file STREAM.h5, or a folder of .safetensors"
    )
    p.add_argument("--retry", action="store_true", help="try clips again that were set aside")
    p.add_argument(
        "--ray", type=int, metavar="N", help="spread over a Ray cluster, up to N networks (pip install 'avkit[ray]')"
    )
    p.add_argument("--ray-address", help="an existing cluster, such as auto; a local one by default")
    p.add_argument(
        "--ray-gpus", type=float, metavar="X", help="GPUs for each of Ray's networks, such as 0.5; 1 by default"
    )
    scenes = p.add_argument_group("of scenes")
    scenes.add_argument("--tasks", default="ave,avqa,davel", help="tasks that will read them; %(default)s by default")
    scenes.add_argument("--train", type=int, default=4000, help="scenes of the train split; %(default)s by default")
    scenes.add_argument("--val", type=int, default=64, help="scenes of the val split; %(default)s by default")
    scenes.add_argument("--test", type=int, default=256, help="scenes of the test split; %(default)s by default")
    add_switches(p)
    return p


def run(args: list[str]) -> int:
    """Extract; the exit code is 1 where clips were set aside."""
    options = parser().parse_args(args)
    from avkit.extraction.recipe import read_recipe
    from avkit.files import remove_leftovers

    if options.list:
        return _list()
    _check(options)
    recipe = read_recipe(options.recipe).with_weights(options.weights)
    media_streams = recipe.media_streams
    sources, missing, out = _sources(options)
    if missing:
        print(
            f"avkit extract: {missing} clips have no media on disk and are left out; see avkit check.", file=sys.stderr
        )
    remove_leftovers(out)
    failed = 0
    if media_streams:
        failed = _extract_media(options, recipe, sources[: options.limit], out)
    _extract_texts(options, recipe, out)
    return 1 if failed else 0


def _check(options: argparse.Namespace) -> None:
    if options.dataset is None:
        raise ValueError("Name a dataset or a folder of videos: avkit extract llp --root R --recipe llp.")
    least = {"workers": 0, "batch": 1, "limit": 1, "ray": 1, "train": 0, "val": 0, "test": 0}
    for name, minimum in least.items():
        value = vars(options)[name]
        if value is not None and value < minimum:
            raise ValueError(f"--{name} is {value}; give a number above 0.")
    if options.ray_gpus is not None and not options.ray_gpus > 0:
        raise ValueError(f"--ray-gpus is {options.ray_gpus:g}; give a number above 0, or --device cpu.")


def _list() -> int:
    from rich.console import Console
    from rich.table import Table

    from avkit.extraction.recipe import list_recipes, read_recipe

    table = Table(box=None, pad_edge=False)
    for heading in ("recipe", "what it extracts", "stores"):
        table.add_column(heading)
    for name in list_recipes():
        recipe = read_recipe(name)
        stores = ", ".join(stream.name for stream in recipe.streams)
        table.add_row(name, recipe.about, stores or "bring them yourself")
    Console().print(table)
    return 0


def _sources(options: argparse.Namespace) -> "tuple[list[MediaSource], int, Path]":
    """The clips, the number of clips without media, and the folder of the stores."""
    from avkit.datasets import find_dataset
    from avkit.datasets.official import Official
    from avkit.datasets.scenes import Scenes
    from avkit.extraction.sources import sources_in, sources_of

    if Path(options.dataset).is_dir() and options.root is None:
        return sources_in(options.dataset), 0, options.out or Path(options.dataset) / "features"
    dataset = find_dataset(options.dataset)
    if issubclass(dataset, Scenes):
        return _scenes(options), 0, options.out or Path("scenes_features")
    if not issubclass(dataset, Official):
        raise ValueError(
            f"{options.dataset!r} has no media of its own. Name an official dataset, scenes, or a folder of videos."
        )
    if options.root is None:
        raise ValueError(f"Name the folder of {dataset.title} with --root.")
    sources, missing = sources_of(dataset, options.root, options.release)
    return sources, missing, options.out or options.root / "features"


def _scenes(options: argparse.Namespace) -> "list[MediaSource]":
    """The built-in scenes that some tasks are trained and tested on."""
    from avkit.datasets.scene_names import kind_for
    from avkit.extraction.sources import sources_of_scenes
    from avkit.tasks import find_task, split_names

    if options.root is not None:
        raise ValueError(f"--root is {options.root}; scenes are built in. Name the folder of the stores with --out.")
    kinds = dict.fromkeys(kind_for(find_task(name).targets) for name in split_names(options.tasks))
    return sources_of_scenes({split: vars(options)[split] for split in ("train", "val", "test")}, kinds)


def _extract_media(
    options: argparse.Namespace, recipe: "ExtractionRecipe", sources: "Sequence[MediaSource]", out: Path
) -> int:
    """Extract features of frames and audio; returns the number of clips set aside."""
    from avkit.extraction.extract import extract

    runner = _ray_runner(options, recipe)
    device = "cpu" if runner is not None else _device(options)
    workers = _start_workers(options, device)
    with _progress_bar() as bar:
        task = bar.add_task(recipe.name, total=None)
        summary = extract(
            sources,
            recipe,
            out,
            dataset=options.dataset,
            device=device,
            batch_size=options.batch,
            workers=workers,
            retry=options.retry,
            form=options.form,
            on_start=lambda done, total: bar.update(task, completed=done, total=total),
            on_clip=_advance(bar, task),
            runner=runner,
        )
    _print_summary(summary)
    return len(summary.failed)


def _device(options: argparse.Namespace) -> str:
    from avkit.cli.lightning_setup import no_gpu

    device: str = options.device or _usual_device()
    reason = no_gpu(device.partition(":")[0], f"--device {device}")
    if reason is not None:
        raise ValueError(reason)
    return device


def _usual_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _start_workers(options: argparse.Namespace, device: str) -> int:
    """The number of processes that decode; on a CPU the encoders get the remaining cores."""
    import torch

    cores = available_cores()
    workers: int = cores if options.workers is None else options.workers
    if device == "cpu" and workers:
        torch.set_num_threads(max(1, cores - workers // 2))
    return workers


def _ray_runner(options: argparse.Namespace, recipe: "ExtractionRecipe") -> "Runner | None":
    """What extracts on a Ray cluster, whose machines have devices of their own; None without one."""
    if not options.ray and not options.ray_address:
        return None
    from avkit.extraction.cluster import Cluster, ray_runner

    cluster = Cluster(options.ray or 2, options.ray_address, options.device, options.ray_gpus)
    return ray_runner(recipe, cluster, options.batch)


def _advance(bar: "Progress", task: "TaskID") -> "OnClip":
    """A function that shows one more clip as decoded, and prints why it cannot be read."""

    def advance(name: str, error: str) -> None:
        bar.advance(task)
        if error:
            bar.console.print(f"set aside {name}: {error}", style="yellow", markup=False, highlight=False)

    return advance


def _print_summary(summary: "ExtractionSummary") -> None:
    stores = ", ".join(map(str, summary.stores.values()))
    print(f"{summary.done} clips, {summary.new} of them new, in {stores or 'no store'}")
    if summary.failed:
        print(f"avkit extract: {len(summary.failed)} clips could not be read and are set aside:", file=sys.stderr)
        for name, reason in list(summary.failed.items())[:5]:
            print(f"  {name}: {reason}", file=sys.stderr)
        print("  mend them and start again with --retry", file=sys.stderr)


def _extract_texts(options: argparse.Namespace, recipe: "ExtractionRecipe", out: Path) -> None:
    """Extract features of text, where the recipe has some and the clips are of a dataset."""
    streams = recipe.text_streams
    if not streams:
        return
    import torch

    from avkit.datasets import find_dataset
    from avkit.datasets.official import Official
    from avkit.extraction.sources import sentences_of
    from avkit.extraction.text_features import extract_sentences

    if options.root is None:
        names = ", ".join(stream.name for stream in streams)
        print(
            f"avkit extract: {names} left out: text features are made of a dataset's questions or classes.",
            file=sys.stderr,
        )
        return
    device = torch.device(options.device or _usual_device())
    dataset = find_dataset(options.dataset)
    assert issubclass(dataset, Official)  # checked when its clips were listed
    for stream in streams:
        sentences = sentences_of(dataset, options.root, stream, options.release)
        path = extract_sentences(sentences, stream, out, options.dataset, device)
        print(f"{len(sentences)} {stream.texts} in {path}")


def _progress_bar() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(TextColumn):
        """Clips per second."""

        def __init__(self) -> None:
            super().__init__("")

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f} clips/s" if task.speed else "")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
