# SPDX-License-Identifier: Apache-2.0
"""`avkit demo [RUN | zero_shot]`: a local page on which a run answers about videos that are dropped there."""

import argparse
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.cli.listening import listen
from avkit.cli.trust import add_switches
from avkit.errors import AvkitError, Stopped

if TYPE_CHECKING:
    from avkit.demo.clip_check import Limits
    from avkit.inference.predictor import Predictor

_HOST = "127.0.0.1"


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit demo",
        description="A page in your browser: drop a video or record one, ask, and see the answers on it. It is reached "
        f"from this machine alone ({_HOST}); videos are deleted after their answer. To train on the built-in scenes, "
        "which `make demo` does, use `avkit fit`.",
    )
    p.add_argument(
        "run",
        nargs="?",
        default="zero_shot",
        help="as in avkit predict: a run, owner/name, a converted file, or zero_shot (default), without training",
    )
    p.add_argument("--tasks", help="tasks that the page offers, separated by commas; all of the run by default")
    p.add_argument("--port", type=int, default=7860, help="port, 0 for any that is free; 7860 by default")
    p.add_argument("--max_megabytes", type=float, default=200.0, metavar="MB", help="size of a video; 200 by default")
    p.add_argument("--max_seconds", type=float, default=120.0, metavar="S", help="length of a video; 120 by default")
    p.add_argument("--max_waiting", type=int, default=8, metavar="N", help="inquiries that may wait; 8 by default")
    p.add_argument(
        "--hop",
        type=float,
        help="seconds per step; by default as in training, and as stored features have it",
    )
    p.add_argument("--features", metavar="RECIPE", help="as in avkit predict, of a run on stored features")
    p.add_argument("--weights", metavar="STAGE=PATH", help="as in avkit predict, such as sound=yamnet.safetensors")
    p.add_argument("--names", metavar="FILE", help="as in avkit predict")
    p.add_argument("--parts", metavar="STAGE=MODEL", help="as in avkit predict, of zero_shot")
    p.add_argument("--accept_licence", default="", metavar="NAME", help="of zero_shot: a licence that you accept")
    p.add_argument("--device", help="such as cpu or cuda; the GPU if there is one")
    add_switches(p)
    return p


def run(args: list[str]) -> int:
    """Serve the page until Ctrl-C."""
    options = parser().parse_args(args)
    from avkit.demo.clip_check import Limits

    limits = Limits(options.max_megabytes, options.max_seconds)
    if options.max_waiting < 1:
        raise ValueError(f"--max_waiting is {options.max_waiting}; give a whole number above 0.")
    if options.hop is not None and not options.hop > 0:
        raise ValueError(f"--hop is {options.hop:g}; give a number of seconds above 0.")
    _require_gradio()
    listener = listen(_HOST, options.port)
    try:
        predictor = _load(options)
        tasks = _offered(predictor, options.tasks)
        return _serve(predictor, tasks, limits, options.max_waiting, options.hop, listener)
    finally:
        listener.close()


def _require_gradio() -> None:
    if find_spec("gradio") is None:
        raise AvkitError('The page needs gradio: pip install "avkit[demo]".')


def _load(options: argparse.Namespace) -> "Predictor":
    """The run, ready to be asked."""
    from avkit.cli.lightning_setup import no_gpu, quiet
    from avkit.inference.loading import load

    quiet()
    if options.device and (reason := no_gpu(options.device.partition(":")[0], f"--device {options.device}")):
        raise ValueError(reason)
    return load(
        options.run,
        options.device,
        trust=options.trust,
        features=options.features,
        weights=options.weights,
        names=options.names,
        parts=options.parts,
        offline=options.offline,
        accept_licence=options.accept_licence,
    )


def _offered(predictor: "Predictor", wanted: str | None) -> list[str]:
    """The tasks that the page offers.

    Raises:
        ValueError: If one is not of the run.
    """
    from avkit.inference.task_choice import choose_tasks

    tasks = predictor.model.tasks
    if wanted is None or wanted == "all":
        return list(tasks)
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    answering = [name for name in names if name in tasks and tasks[name].needs_question()]
    questions = ["what"] if answering else []  # without one, tasks that answer questions would be refused
    return choose_tasks(predictor.source, tasks, names, questions).names


def _serve(
    predictor: "Predictor", tasks: list[str], limits: "Limits", waiting: int, hop: float | None, listener: socket.socket
) -> int:
    """Serve the page until a signal ends it, and delete what it has written."""
    from avkit.cli.failures import describe
    from avkit.demo.answering import Answerer
    from avkit.demo.server import make_application, serve
    from avkit.demo.work_folder import WorkFolder

    port = listener.getsockname()[1]
    title = Path(predictor.source).name
    work = WorkFolder()
    try:
        answerer = Answerer(predictor, work, limits, tasks, hop)
        application = make_application(answerer, title, port, waiting, describe)
        warning = predictor.warning(tasks)
        if warning:
            print(f"warning: {warning}")
        print(f"{title} answers {', '.join(tasks)}; videos up to {limits.megabytes:g} MB and {limits.seconds:g} s")
        print(f"open http://{_HOST}:{port}/  (Ctrl-C ends)", flush=True)
        serve(application, listener)
    except Stopped as stop:
        raise Stopped(stop.signal, "Videos and answers are deleted.") from stop
    finally:
        work.close()
    return 0
