# SPDX-License-Identifier: Apache-2.0
"""`avkit annotate FOLDER`: a page in the browser on which clips are labelled; `--export` writes the labels."""

import argparse
import secrets
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.cli.listening import listen
from avkit.errors import AvkitError, Stopped

if TYPE_CHECKING:
    from avkit.annotation.folder import Folder
    from avkit.annotation.helpers import HelperChoice

#: Default helper of each task, and the help of its option; names are checked against `helpers.HELPERS`.
_HELPERS = {
    "masks": ("grabcut", "proposes masks: grabcut, sam2, sam"),
    "tracker": ("flow", "follows masks: flow, sam2"),
    "names": ("none", "names what is heard: yamnet, ast, clap, ..."),
    "boxes": ("none", "finds named objects: grounding_dino, owlv2, ..."),
    "sentences": ("none", "describes objects: smolvlm, qwen2_5_vl_3b, or vlm=PATH for any of transformers"),
}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit annotate",
        description="A page in the browser on which clips are labelled: masks, when things sound, sentences. Every "
        "edit is saved at once. See docs/annotating.md.",
    )
    p.add_argument("folder", type=Path, help="folder of videos, or one that avkit build made")
    p.add_argument("--work", type=Path, help="folder of the labels; by default .avkit_annotate in FOLDER")
    p.add_argument("--hop", type=float, default=1.0, help="seconds per step; a mask and a sentence belong to a step")
    p.add_argument("--labels", type=Path, help="a manifest whose labels are taken over for clips that have none here")
    p.add_argument("--host", default="127.0.0.1", help="address to listen at; others than this machine's need a token")
    p.add_argument("--port", type=int, default=8765, help="port to listen at, 0 for any that is free")
    for task, (default, about) in _HELPERS.items():
        p.add_argument(f"--{task}", default=default, metavar="NAME[=WEIGHTS]", help=about)
    p.add_argument("--device", default="auto", help="where models run: auto, cpu, cuda")
    p.add_argument("--offline", action="store_true", help="download no weights")
    p.add_argument("--accept_licence", default="", help="licences of weights that you accept, separated by commas")
    p.add_argument("--export", metavar="FORMAT", help="write the labels and end: avkit, coco, cvat, label-studio, ...")
    p.add_argument("-o", "--out", type=Path, help="file or folder to export to")
    p.add_argument("--partial", action="store_true", help="export what there is of half-labelled clips")
    p.add_argument("--overwrite", action="store_true", help="replace files that were not exported from here")
    p.add_argument("--split", choices=("train", "val", "test"), help="the split of all exported clips")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    return p


def run(args: list[str]) -> int:
    """Serve the page until Ctrl-C, or export."""
    options = parser().parse_args(args)
    from avkit.annotation.folder import Folder

    choices = _choices(options)
    if not options.export:
        _require_server(options.port)
    folder = Folder(options.folder, options.work, options.hop)
    try:
        _take_over(folder, options.labels)
        if options.export:
            return _export(folder, options)
        return _serve(folder, choices, options.host, options.port)
    finally:
        folder.close()


def _choices(options: argparse.Namespace) -> "dict[str, HelperChoice]":
    """The helper of each task."""
    from avkit.annotation.helpers import TASKS, HelperChoice, parse_choice

    choices = {}
    for task in TASKS:
        name, weights = parse_choice(task, vars(options)[task])
        choices[task] = HelperChoice(
            task, name, weights, options.offline, options.accept_licence, device=options.device
        )
    return choices


def _require_server(port: int) -> None:
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise AvkitError(f"The page needs {' and '.join(missing)}: pip install 'avkit[annotate]'.")
    if not 0 <= port < 65536:
        raise ValueError(f"--port is {port}; it is a number from 0 to 65535.")


def _take_over(folder: "Folder", manifest: Path | None) -> None:
    from avkit.annotation.taking_over import take_over_corpus, take_over_manifest

    count = take_over_corpus(folder)
    if manifest is not None:
        count += take_over_manifest(folder, manifest)
    if count:
        print(f"labels of {count} clips taken over", file=sys.stderr)


def _export(folder: "Folder", options: argparse.Namespace) -> int:
    from avkit.annotation.export import ExportOptions, export_labels

    settings = ExportOptions(options.out, options.partial, options.overwrite, options.split)
    exported = export_labels(folder, options.export, settings)
    print(f"{exported.out}: {exported.clips} clips")
    for note in exported.notes:
        print(note)
    return 0


def _serve(folder: "Folder", choices: "dict[str, HelperChoice]", host: str, port: int) -> int:
    """Run the server until a signal ends it."""
    import uvicorn

    from avkit.annotation.server import Application

    listener = listen(host, port, "Give another --port (0 for any that is free), or another --host.")
    port = listener.getsockname()[1]
    token = None if host in _LOOPBACK else secrets.token_urlsafe(24)
    application = Application(folder, choices)
    guard = application.guarded(host, port, token)
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    if token is not None:
        address += f"?token={token}"
        print("whoever has this address can read and change the labels; it is not encrypted", file=sys.stderr)
    print(f"{len(folder.clips)} clips of {folder.root}, labels in {folder.work}")
    print(f"open {address}  (Ctrl-C ends)", flush=True)
    config = uvicorn.Config(
        guard, log_level="warning", server_header=False, timeout_graceful_shutdown=2, lifespan="off"
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except Stopped as stop:
        raise Stopped(stop.signal, "Every edit is saved.") from stop
    finally:
        application.close()
        listener.close()
    return 0
