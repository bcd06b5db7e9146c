# SPDX-License-Identifier: Apache-2.0
"""`avkit index RUN VIDEOS... --out INDEX`: predict and encode videos once, so that they can be searched."""

import argparse
import sys
from pathlib import Path

from avkit.cli.clips import add_shard_option, find_clips, one_clip
from avkit.cli.on_ray import add_ray_options, cluster_of, work_on_ray
from avkit.cli.trust import add_switches
from avkit.errors import AvkitError
from avkit.files import WriteError, remove_leftovers
from avkit.reading.remote import is_there


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit index",
        description="Masks, captions and vectors of videos, for 'avkit search'. Start it again after a stop, or with "
        "more videos: videos that are in the index are left out.",
    )
    p.add_argument("run", help="folder of a run with task ra_ssu, or owner/name on the hub")
    p.add_argument("videos", nargs="+", type=Path, help="videos, folders with some at any depth, or patterns in quotes")
    p.add_argument("--out", type=Path, default=Path("index"), help="folder of the index")
    p.add_argument(
        "--features", metavar="RECIPE", help="recipes that make the stored features that the run reads, as in predict"
    )
    p.add_argument("--weights", metavar="STREAM=PATH", help="weights of the recipes' encoders, as in predict")
    p.add_argument("--silent_ok", action="store_true", help="use silence where a video has no sound")
    p.add_argument("--device", help="such as cpu or cuda; the GPU if there is one")
    add_shard_option(p)
    add_ray_options(p)
    add_switches(p)
    return p


def run(args: list[str]) -> int:
    """Index; a broken video is reported and the others are done."""
    options = parser().parse_args(args)
    from rich.progress import track

    from avkit.cli.lightning_setup import no_gpu, quiet
    from avkit.inference.index import IndexFolder

    quiet()
    cluster = cluster_of(options)
    device = (options.device or "").partition(":")[0]
    if cluster is None and device and (reason := no_gpu(device, f"--device {options.device}")):
        raise ValueError(reason)
    paths, errors = find_clips(options.videos, options.out, options.shard)
    for error in errors:
        print(f"avkit index: {error}", file=sys.stderr)
    work = None if cluster else IndexWork(options)
    folder = IndexFolder(options.out)
    fresh = [path for path in paths if not (is_there(path) and folder.has(path))]
    problems: list[str] = []
    if work is not None:
        for path in track(fresh, "watching"):
            try:
                with one_clip(path):
                    work(path)
            except WriteError:
                raise  # the next one could not be written either
            except AvkitError as e:
                print(f"avkit index: {e}", file=sys.stderr)
                problems.append(str(e))
    elif cluster is not None and fresh:
        problems += work_on_ray("avkit.cli.index", options, fresh, cluster).values()
    failures = len(errors) + len(problems)
    added = len(fresh) - len(problems)
    warning = folder.facts.get("warning", "")
    videos = folder.stored()
    folder.caption_index(videos)
    steps = sum(len(video) for video in videos)
    print(f"{len(videos)} videos, {added} of them new, {steps} steps in {options.out}")
    if warning:
        print(f"warning: {warning}")
    print(f'search them: avkit search {options.out} "a dog barks on the left"')
    if failures:
        print(f"avkit index: {failures} of {len(paths) + len(errors)} videos could not be read.", file=sys.stderr)
    return 1 if failures else 0


class IndexWork:
    """A run that adds one video after the other to an index.

    Args:
        options: Of the command.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        from avkit.inference.embedding import indexing_task
        from avkit.inference.index import IndexFolder
        from avkit.inference.loading import load

        self.predictor = load(
            options.run, options.device, trust=options.trust, features=options.features, weights=options.weights
        )
        self.silent_ok = options.silent_ok
        task = indexing_task(self.predictor)
        self.predictor.load_encoders([task])
        remove_leftovers(options.out)
        self.folder = IndexFolder(options.out)
        warning = self.predictor.warning([task])
        self.folder.create({**self.predictor.provenance, **_given(options), "warning": warning})

    def __call__(self, path: Path) -> None:
        """Add a video."""
        from avkit.inference.embedding import index_video

        self.folder.add(index_video(self.predictor, path, self.silent_ok))


def make_work(options: argparse.Namespace) -> IndexWork:
    """What a worker of a Ray cluster does with videos."""
    return IndexWork(options)


def _given(options: argparse.Namespace) -> dict[str, str]:
    """What was said of stored features, for searches by a sound or a clip."""
    given = {"recipes": options.features, "encoder_weights": options.weights}
    return {name: value for name, value in given.items() if value is not None}
