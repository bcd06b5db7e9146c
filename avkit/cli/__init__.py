# SPDX-License-Identifier: Apache-2.0
"""The command line: one file per command, imported when it is called."""

import sys
from importlib import import_module

from avkit.cli.renamed import refuse_renamed_options
from avkit.errors import AvkitError, unknown_name

#: Command, its module, and the line of help.
COMMANDS: dict[str, str] = {
    "fit": "train tasks on the built-in scenes or your data, test them, write a report",
    "validate": "the validation figures of a run",
    "test": "official metrics of a run on the test split, with a report",
    "report": "what joint training brings: runs of one task beside a run of several",
    "predict": "what a run says about your videos: masks, captions, answers",
    "index": "watch a folder of videos with a run, so that they can be searched",
    "search": "find moments in indexed videos by text, by sound, or by a clip",
    "check": "what of a dataset is on disk, what is missing, which features do not fit",
    "extract": "videos through pretrained networks into feature stores, resumable, on many machines",
    "build": "clips of f-Music or f-Lifescene for annotation, from MUSIC-AVQA or VGGSound",
    "convert": "official checkpoints into ours, every key accounted for, and back",
    "info": "tasks, datasets, encoders, versions, hardware",
    "scenes": "look at the built-in scenes, or export them in the layout of an official dataset",
}

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
    return USAGE.format(commands="\n".join(f"  {name:10} {line}" for name, line in COMMANDS.items()))


def main(args: list[str] | None = None) -> int:
    """Run a command; returns the exit code.

    Args:
        args: Words after `avkit`, those of the process where None.
    """
    words = sys.argv[1:] if args is None else list(args)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[0] in ("-V", "--version"):
        from avkit import __version__

        print(f"avkit {__version__}")
        return 0
    name, rest = words[0], words[1:]
    try:
        if name not in COMMANDS:
            raise unknown_name("command", name, COMMANDS)
        refuse_renamed_options(name, rest)
        return int(import_module(f"avkit.cli.{name}").run(rest) or 0)
    except (AvkitError, ValueError, KeyError, FileNotFoundError) as e:
        if "--debug" in rest:
            raise
        print(f"avkit {name}: {e.args[0] if isinstance(e, KeyError) and e.args else e}", file=sys.stderr)
        return 2
