# SPDX-License-Identifier: Apache-2.0
"""The command line: one file per command, imported when it is called."""

import shlex
import sys
import time
from importlib import import_module
from keyword import iskeyword

from avkit.cli.rank import process_rank
from avkit.errors import Stopped, unknown_name

#: Name of each command, which is that of its module (`import_` for `import`), and its line of help.
COMMANDS: dict[str, str] = {
    "fit": "train tasks on the built-in scenes or your data, test them, write a report",
    "validate": "the validation metrics of a run",
    "test": "official metrics of a run on the test split, with a report",
    "compare": "any tested runs: intervals, spread over seeds, paired tests; CSV and LaTeX",
    "leaderboard": "published figures beside measured ones, per dataset; `add` and `verify` results",
    "report": "what joint training brings: runs of one task compared with a run of several",
    "predict": "the answers of a run for your videos: masks, captions, events, ...",
    "demo": "a local page on which a run, or zero_shot, answers about videos dropped there",
    "index": "index a folder of videos with a run, so that they can be searched",
    "search": "find moments in indexed videos by text, by sound, or by a clip",
    "check": "which files of a dataset are on disk, which are missing, which features do not fit",
    "get": "annotation files of an official dataset, or how to come by them",
    "import": "annotations of other tools (COCO, CVAT, Label Studio, VIA, ELAN, Audacity, CSV) into a manifest",
    "extract": "features of videos by pretrained networks, into feature stores; resumable, on many machines",
    "build": "clips of f-Music or f-Lifescene for annotation, from MUSIC-AVQA or VGGSound",
    "annotate": "label clips in a browser: masks, sounding spans, sentences; exports for avkit and other tools",
    "score": "predictions of whomever by the official metrics, beside published figures",
    "reproduce": "an experiment from data and weights to a verdict on its published row",
    "convert": "official checkpoints into ours, with every key reported, and back",
    "completion": "a script by which bash, zsh or fish completes commands and options",
    "export": "one task of a run as an ONNX file or a program of torch.export",
    "push": "a run with a model card to the Hugging Face hub; shows first what it would upload",
    "pull": "a run from the Hugging Face hub into a folder",
    "info": "tasks, datasets, encoders, versions, hardware",
    "scenes": "look at the built-in scenes, or export them in the layout of an official dataset",
}

#: Commands that several processes may run together.
_TOGETHER = ("fit", "validate", "test")
#: Seconds for which one of several processes leaves it to the first one to say what is wrong.
_PATIENCE = 2.0

USAGE = """usage: avkit COMMAND ...

Audio-visual scene understanding: seven tasks, one backbone.

commands:
{commands}

  avkit fit --tasks ra_ssu,avs,avqa            train on the built-in scenes, minutes on a laptop
  avkit predict runs/NAME clip.mp4             masks, captions and answers for a video
  avkit COMMAND --help                         everything a command takes
"""


def usage() -> str:
    """The help of `avkit` itself."""
    lines = [f"  {name:11} {text}" for name, text in COMMANDS.items()]
    return USAGE.format(commands="\n".join(lines))


def main(args: list[str] | None = None) -> int:
    """Run a command.

    Args:
        args: Arguments after `avkit`; None for those of the process.

    Returns:
        The exit code.
    """
    given = sys.argv[1:] if args is None else list(args)
    if not given or given[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if given[0] in ("-V", "--version"):
        from avkit import __version__

        print(f"avkit {__version__}")
        return 0
    name = given[0]
    rest = given[1:]
    from avkit.training.stop_signals import STOP_SIGNALS, end_helpers

    STOP_SIGNALS.quiet = name in _TOGETHER and process_rank() > 0
    with STOP_SIGNALS.handled():
        try:
            return _call(name, rest)
        except Stopped as e:
            STOP_SIGNALS.ignore()
            end_helpers()
            if not STOP_SIGNALS.quiet:
                print(f"\navkit {name}: {_last_words(e, name, rest)}", file=sys.stderr)
            return e.exit_code


def _last_words(e: Stopped, name: str, rest: list[str]) -> str:
    """Why a command ends before it is done, and how to go on."""
    advice = e.advice or f"Files that it has finished are whole. Start it again: {shlex.join(['avkit', name, *rest])}"
    return f"stopped by {e.cause}. {advice}"


def _call(name: str, rest: list[str]) -> int:
    """Run a command; errors of which the user is to know are printed."""
    try:
        if name not in COMMANDS:
            raise unknown_name("command", name, COMMANDS)
        from avkit.cli.short_help import help_text, wants_help

        if wants_help(name, rest):
            print(help_text(name))
            return 0
        from avkit.cli.places import refuse_url_outputs
        from avkit.cli.renamed import refuse_renamed_options
        from avkit.cli.trust import command_policy
        from avkit.licences import commercial_only
        from avkit.outside import restricted
        from avkit.reading.hub import no_downloads

        refuse_renamed_options(name, rest)
        refuse_url_outputs(rest)
        with (
            restricted(command_policy(rest)),
            commercial_only(wanted="--commercial_safe" in rest),
            no_downloads(wanted="--offline" in rest),
        ):
            module = f"{name}_" if iskeyword(name) else name
            return int(import_module(f"avkit.cli.{module}").run(rest) or 0)
    except Exception as error:
        if "--debug" in rest:
            raise
        from avkit.cli.failures import describe

        text = describe(error)
        if name in _TOGETHER and process_rank():
            if _is_ended():
                return 2
            text = f"rank {process_rank()}: {text}"
        print(f"avkit {name}: {text}", file=sys.stderr)
        return 2


def _is_ended() -> bool:
    """Whether this process, one of several, is ended within a few seconds, since the first has failed too."""
    from avkit.training.stop_signals import STOP_SIGNALS

    until = time.monotonic() + _PATIENCE
    while STOP_SIGNALS.received is None and time.monotonic() < until:
        try:
            time.sleep(0.1)
        except Stopped:
            return True
    return STOP_SIGNALS.received is not None
