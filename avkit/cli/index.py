# SPDX-License-Identifier: Apache-2.0
"""`avkit index RUN VIDEOS... --out INDEX`: watch videos once, so that they can be searched."""

import argparse
import sys
from pathlib import Path

from avkit.errors import AvkitError


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit index",
        description="Masks, captions and vectors of videos, for 'avkit search'. Start it again after a stop, or with "
        "more videos: what is done stays done.",
    )
    p.add_argument("run", help="folder of a run with task ra_ssu, or owner/name on the hub")
    p.add_argument("videos", nargs="+", type=Path, help="videos, or folders with some at any depth")
    p.add_argument("--out", type=Path, default=Path("index"), help="folder of the index")
    p.add_argument("--silent_ok", action="store_true", help="use silence where a video has no sound")
    p.add_argument("--device", help="such as cpu or cuda; the GPU if there is one")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    return p


def run(args: list[str]) -> int:
    """Index; a broken video is reported and the others are done."""
    options = parser().parse_args(args)
    from rich.progress import track

    from avkit.cli.lightning_setup import no_gpu, quiet
    from avkit.extraction.sources import videos_in
    from avkit.inference.predictor import load
    from avkit.inference.retrieval import Index, watch

    quiet()
    if options.device and (reason := no_gpu(options.device.partition(":")[0], f"--device {options.device}")):
        raise ValueError(reason)
    paths: list[Path] = []
    for given in options.videos:
        paths += videos_in(given) if given.is_dir() else [given]
    predictor, index = load(options.run, options.device), Index(options.out)
    index.begin(predictor.provenance)
    failed, new = 0, 0
    for path in track(paths, "watching"):
        try:
            if path.exists() and index.has(path):
                continue
            index.add(watch(predictor, path, options.silent_ok))
            new += 1
        except AvkitError as e:
            print(f"avkit index: {e}", file=sys.stderr)
            failed += 1
    shelf = index.read()
    print(f"{len(shelf.videos)} videos, {new} of them new, {len(shelf)} steps in {options.out}")
    print(f'search them: avkit search {options.out} "a dog barks on the left"')
    if failed:
        print(f"avkit index: {failed} of {len(paths)} videos could not be read.", file=sys.stderr)
    return 1 if failed else 0
