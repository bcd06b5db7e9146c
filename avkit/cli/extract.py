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

    from avkit.extraction.extract import ExtractionSummary, OnClip
    from avkit.extraction.ray_passes import Cluster
    from avkit.extraction.recipe import ExtractionRecipe
    from avkit.extraction.sources import MediaSource


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit extract",
        description="Videos through networks into feature stores, one per stream. Start it again after a stop of any "
        "kind: what is done stays done.",
    )
    p.add_argument(
        "dataset", nargs="?", help="name of a dataset, folder or URL of videos, or scenes, the built-in ones"
    )
    p.add_argument("--root", type=Path, help="folder of the dataset")
    p.add_argument("--recipe", default="av_unified", help="name of a recipe, or a YAML file of yours")
    p.add_argument("--list", action="store_true", help="print the recipes")
    p.add_argument("--out", type=Path, help="folder of the stores; ROOT/features by default, of scenes scenes_features")
    p.add_argument("--release", help="release of the annotations, which say what clips there are")
    p.add_argument("--weights", help="'none' for random weights, or stream=PATH,...; the recipe's by default")
    p.add_argument("--device", help="such as cpu or cuda; the GPU if there is one")
    p.add_argument("--workers", type=int, help="processes that decode, without --ray; the cores by default")
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
    cluster = _check(options)
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
        failed = _extract_media(options, recipe, sources[: options.limit], out, cluster)
    _extract_texts(options, recipe, out, cluster)
    return 1 if failed else 0


def _check(options: argparse.Namespace) -> "Cluster | None":
    """Refuse options that contradict each other; returns the Ray cluster that is asked for."""
    from avkit.cli.on_ray import cluster_of

    if options.dataset is None:
        raise ValueError("Name a dataset or a folder of videos: avkit extract llp --root R --recipe llp.")
    least = {"workers": 0, "batch": 1, "limit": 1, "train": 0, "val": 0, "test": 0}
    for name, minimum in least.items():
        value = vars(options)[name]
        if value is not None and value < minimum:
            raise ValueError(f"--{name} is {value}; give a number above 0.")
    cluster = cluster_of(options)
    if cluster is not None and options.workers is not None:
        raise ValueError(f"--workers is {options.workers}, and on Ray each CPU of the cluster decodes. Leave it out.")
    return cluster


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
    from avkit.reading.remote import is_folder

    if options.root is None and is_folder(options.dataset):
        return sources_in(options.dataset), 0, _folder_of_stores(options, Path(options.dataset))
    dataset = find_dataset(options.dataset)
    if issubclass(dataset, Scenes):
        return _scenes(options), 0, options.out or Path("scenes_features")
    if not issubclass(dataset, Official):
        raise ValueError(
            f"{options.dataset!r} has no media of its own. Name an official dataset, scenes, or a folder of videos."
        )
    if options.root is None:
        raise ValueError(f"Name the folder of {dataset.title} with --root.")
    out = _folder_of_stores(options, options.root)
    sources, missing = sources_of(dataset, options.root, options.release)
    return sources, missing, out


def _folder_of_stores(options: argparse.Namespace, root: Path) -> Path:
    """The folder of the stores, beside the media by default.

    Raises:
        ValueError: If the media are in a bucket, where no stores are written.
    """
    from avkit.reading.remote import url_of

    if options.out is not None:
        return Path(options.out)
    url = url_of(root)
    if url is not None:
        raise ValueError(
            f"The media are at {url}, and stores are written to a folder of this machine. Name it with --out."
        )
    return root / "features"


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
    options: argparse.Namespace,
    recipe: "ExtractionRecipe",
    sources: "Sequence[MediaSource]",
    out: Path,
    cluster: "Cluster | None",
) -> int:
    """Extract features of frames and audio; returns the number of clips set aside."""
    from avkit.extraction.extract import extract

    runner = None
    if cluster is not None:
        from avkit.extraction.cluster import ray_runner

        runner = ray_runner(recipe, cluster, options.batch)
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


def _extract_texts(
    options: argparse.Namespace, recipe: "ExtractionRecipe", out: Path, cluster: "Cluster | None"
) -> None:
    """Extract features of text on this machine, where the recipe has some and the clips are of a dataset."""
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
    on_cluster = cluster is not None and options.device != "cpu"  # then --device is of the cluster's machines
    device = torch.device(_usual_device() if on_cluster else _device(options))
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
