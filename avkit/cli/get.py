# SPDX-License-Identifier: Apache-2.0
"""`avkit get DATASET --annotations`: annotation files whose licence allows it, and how to come by all else."""

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.cli.trust import add_switches

if TYPE_CHECKING:
    from avkit.datasets.get import Answer
    from avkit.datasets.published_files import PublishedFile

_WIDTH = 80


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit get",
        description="Download the annotation files of a dataset from its authors' repository, where they state a "
        "licence, and compare them with their published digest. Started again after a stop, it goes on where it "
        "was. The exit code is 0 where all files are there, 1 where some must be had by hand.",
    )
    p.add_argument("dataset", help="name of a dataset, see avkit info")
    p.add_argument("--annotations", action="store_true", help="download; without it, only say what is to be had")
    p.add_argument("--root", type=Path, help="folder of the dataset (default: data/DATASET)")
    p.add_argument("--release", help="release of the annotations; the usual one by default")
    p.add_argument("--mirror", metavar="URL", help="a server that has the files, in place of raw.githubusercontent.com")
    p.add_argument("--commercial_safe", action="store_true", help="refuse data that may not be used commercially")
    add_switches(p, trust=False)
    return p


def run(args: list[str]) -> int:
    """Download, or say what is to be had."""
    options = parser().parse_args(args)
    from avkit.datasets.get import GITHUB, find_answer, get_annotations
    from avkit.licences import check_licence
    from avkit.reading.remote import url_of

    answer = find_answer(options.dataset, options.release)
    check_licence("data", answer.name)
    mirror = options.mirror or GITHUB
    if not mirror.startswith(("https://", "http://")):
        raise ValueError(f"--mirror is {mirror!r}. Give an address such as https://ghproxy.example/raw.")
    print(_title(answer))
    if not options.annotations:
        for file in answer.files:
            _print_file(file, file.licence or "no licence stated")
        _print_rest(answer, answer.by_hand)
        if len(answer.by_hand) < len(answer.files):
            print(f"\nDownload them: avkit get {answer.name} --annotations")
        return 0
    if not answer.files:
        _print_rest(answer, ())
        return 1 if answer.release else 0
    root = options.root or Path("data") / answer.name
    if url_of(root) is not None:
        raise ValueError(f"--root is {url_of(root)!r}, and files are downloaded to a folder of this machine. Name one.")
    missing = get_annotations(answer, root, mirror, _print_file)
    _print_rest(answer, missing)
    print(f"\nCheck them: avkit check {answer.name} --root {root} --release {answer.release} --quick")
    return 1 if missing else 0


def _title(answer: "Answer") -> str:
    if not answer.release:
        return answer.title
    sources = {f"{file.repository} at {file.commit[:10]}" for file in answer.files}
    of = f", from {' and '.join(sorted(sources))}" if sources else ""
    return f"{answer.title}, annotations of release {answer.release}{of}"


def _print_file(file: "PublishedFile", state: str) -> None:
    size = "" if file.size is None else f"{file.size / 1e3:,.1f} kB"
    print(f"  {file.name:34} {size:>11}  {state}")


def _print_rest(answer: "Answer", by_hand: "tuple[PublishedFile, ...] | list[PublishedFile]") -> None:
    """What must be had by hand, and how."""
    if by_hand:
        print("\nNot downloaded, since their authors state no licence; put them there yourself:")
        for file in by_hand:
            print(f"  {file.page}\n    digest {file.digest}")
    print(f"\n{textwrap.fill(answer.how_to_get, _WIDTH, break_on_hyphens=False)}")
