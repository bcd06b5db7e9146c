# SPDX-License-Identifier: Apache-2.0
"""`avkit search INDEX "a dog barks on the left"`: moments in indexed videos, by text, by sound, or by a clip."""

import argparse
from pathlib import Path

#: Hits below this score have a common little word at most.
LEAST = 0.02


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit search",
        description="Moments in indexed videos, by text, by sound, by a clip, or by several.",
    )
    p.add_argument("index", type=Path, help="folder that 'avkit index' made")
    p.add_argument("text", nargs="?", help="what is seen and heard, such as 'a white dog barking on the left'")
    p.add_argument("--sound", type=Path, help="a sound file, or a video whose sound is meant")
    p.add_argument("--clip", type=Path, help="a video that looks and sounds alike")
    p.add_argument("-k", type=int, default=5, help="videos to find")
    p.add_argument("--run", help="the run that made the index, if it was moved")
    p.add_argument("--show", type=Path, metavar="PAGE", help="write a page with pictures, such as hits.html")
    p.add_argument("--json", action="store_true", help="for scripts")
    p.add_argument("--device", help="such as cpu or cuda; the GPU if there is one")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    return p


def run(args: list[str]) -> int:
    """Search; the exit code is 1 where nothing is found."""
    options = parser().parse_args(args)
    import json
    import sys
    from dataclasses import asdict

    from avkit.inference.retrieval import Index, listen, search, watch
    from avkit.report.search import box, write_page

    if options.k < 1:
        raise ValueError(f"-k is {options.k}; give 1 or more.")
    index = Index(options.index)
    shelf, examples = index.read(), []
    if options.sound or options.clip:
        from avkit.cli.lightning_setup import quiet
        from avkit.inference.predictor import load

        quiet()
        predictor = load(options.run or index.facts["run"], options.device)
        index.begin(predictor.provenance)
        examples += [listen(predictor, options.sound)] if options.sound else []
        examples += [watch(predictor, options.clip).vectors] if options.clip else []
    hits = [hit for hit in search(shelf, options.text, examples, options.k) if hit.score > LEAST]
    if options.text and (unknown := shelf.unknown(options.text)):
        print(f"no caption has {', '.join(unknown)}", file=sys.stderr)
    if options.json:
        print(json.dumps([{k: v for k, v in asdict(h).items() if k != "mask"} | {"box": box(h.mask)} for h in hits]))
    for hit in [] if options.json else hits:
        print(f"{hit.score:5.2f}  {hit.start:6.1f} - {hit.end:6.1f} s  {hit.video}\n       {hit.caption}")
    if not hits:
        print("avkit search: nothing found", file=sys.stderr)
        return 1
    if options.show:
        asked = [options.text, *(f"{k} {p}" for k in ("sound", "clip") if (p := getattr(options, k)))]
        print(f"page: {write_page(options.show, hits, ', '.join(a for a in asked if a))}", file=sys.stderr)
    return 0
