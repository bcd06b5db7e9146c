# SPDX-License-Identifier: Apache-2.0
"""The help of commands that evaluate a run."""

import argparse
from collections.abc import Sequence

from avkit.cli.trust import add_switches

_DESCRIPTIONS = {
    "test": "Official metrics of a run on the test split, for its best checkpoint, and its report again.",
    "validate": "The scores by which training chose a run's best checkpoint.",
}


def show_help(command: str, args: Sequence[str]) -> bool:
    """Print the help of a command if its words ask for it; returns whether they do."""
    if not {"-h", "--help"} & set(args):
        return False
    parser = argparse.ArgumentParser(
        prog=f"avkit {command}",
        usage=f"avkit {command} RUN [--trust] [--debug] [--OPTION VALUE ...]",
        description=_DESCRIPTIONS[command],
        epilog="Options of 'avkit fit' replace those of the run's config, such as --data.manifest own.jsonl or "
        "--trainer.accelerator gpu; 'avkit fit --help' lists them.",
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run, such as runs/NAME")
    if command == "test":
        parser.add_argument(
            "--beside",
            metavar="RUN",
            help="another run of the same task, such as a baseline, whose events the report's examples show too",
        )
    add_switches(parser)
    parser.print_help()
    return True
