# SPDX-License-Identifier: Apache-2.0
"""`avkit search INDEX "a dog barks on the left"`: find steps of indexed videos by text, by sound, or by a clip."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.cli.trust import add_switches

if TYPE_CHECKING:
    from torch import Tensor

    from avkit.inference.index import IndexFolder
    from avkit.inference.search import Hit

#: Hits below this score share no more than a common little word with the query.
MIN_SCORE = 0.02


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit search",
        description="Moments in indexed videos, by text, by sound, by a clip, or by several.",
    )
    p.add_argument("index", type=Path, help="folder that 'avkit index' built")
    p.add_argument("text", nargs="?", help="what is seen and heard, such as 'a white dog barking on the left'")
    p.add_argument("--sound", type=Path, help="a sound file, or a video whose sound is meant")
    p.add_argument("--clip", type=Path, help="a video that looks and sounds alike")
    p.add_argument("-k", type=int, default=5, help="videos to find")
    p.add_argument("--run", help="the run that the index was built with, if it was moved")
    p.add_argument("--show", type=Path, metavar="PAGE", help="write a page with pictures, such as hits.html")
    p.add_argument("--json", action="store_true", help="for scripts")
    p.add_argument("--device", help="such as cpu or cuda; the GPU if there is one")
    add_switches(p)
    return p


def run(args: list[str]) -> int:
    """Search; the exit code is 1 where nothing is found."""
    options = parser().parse_args(args)
    from avkit.inference.index import IndexFolder
    from avkit.inference.search import Index, search
    from avkit.report.search import write_page

    if options.k < 1:
        raise ValueError(f"-k is {options.k}; give 1 or more.")
    folder = IndexFolder(options.index)
    videos = folder.stored()
    index = Index(videos, folder.caption_index(videos) if options.text else None)
    examples = _embed_examples(folder, options) if options.sound or options.clip else []
    hits = [hit for hit in search(index, options.text, examples, options.k) if hit.score > MIN_SCORE]
    if options.text:
        _print_unknown_words(index.unknown_words(options.text))
    warning = folder.facts.get("warning", "")
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    _print_hits(hits, warning, as_json=options.json)
    if not hits:
        print("avkit search: nothing found", file=sys.stderr)
        return 1
    if options.show:
        print(f"page: {write_page(options.show, hits, _describe_query(options), warning)}", file=sys.stderr)
    return 0


def _embed_examples(folder: "IndexFolder", options: argparse.Namespace) -> list["dict[str, Tensor]"]:
    """Vectors of the sound file and of the clip, by the run that the index was built with."""
    from avkit.cli.lightning_setup import quiet
    from avkit.inference.embedding import embed_audio, index_video, indexing_task
    from avkit.inference.loading import load

    quiet()
    facts = folder.facts
    predictor = load(
        options.run or facts["run"],
        options.device,
        trust=options.trust,
        features=facts.get("recipes"),
        weights=facts.get("encoder_weights"),
    )
    predictor.load_encoders([indexing_task(predictor)])
    folder.create(predictor.provenance)
    examples = []
    if options.sound:
        examples.append(embed_audio(predictor, options.sound))
    if options.clip:
        examples.append(index_video(predictor, options.clip).vectors)
    return examples


def _print_unknown_words(words: Sequence[str]) -> None:
    if words:
        print(f"no caption has {', '.join(words)}", file=sys.stderr)


def _print_hits(hits: "Sequence[Hit]", warning: str, *, as_json: bool) -> None:
    """Print hits, as lines or as JSON with the mask's box in place of the mask."""
    from avkit.report.search import box

    if not as_json:
        for hit in hits:
            print(f"{hit.score:5.2f}  {hit.start:6.1f} - {hit.end:6.1f} s  {hit.video}\n       {hit.caption}")
        return
    records = []
    for hit in hits:
        record = {name: value for name, value in vars(hit).items() if name != "mask"}
        records.append({**record, "box": box(hit.mask), "warning": warning or None})
    print(json.dumps(records))


def _describe_query(options: argparse.Namespace) -> str:
    """The query in words, for the page's title."""
    parts = [options.text] if options.text else []
    if options.sound:
        parts.append(f"sound {options.sound}")
    if options.clip:
        parts.append(f"clip {options.clip}")
    return ", ".join(parts)
