# SPDX-License-Identifier: Apache-2.0
"""`avkit completion`: a script by which a shell completes commands and options."""

import argparse
from importlib import import_module
from keyword import iskeyword

from avkit.cli.short_help import FIT_OPTIONS, SWITCHES
from avkit.errors import AvkitError

SHELLS = ("bash", "zsh", "fish")
#: Commands whose options are Lightning's; those that most people need are completed.
_LIGHTNING = ("fit", "test", "validate")


def parser() -> argparse.ArgumentParser:
    """The options of `avkit completion`."""
    p = argparse.ArgumentParser(
        prog="avkit completion",
        description="Print a script that completes avkit's commands and options.",
        epilog='bash: eval "$(avkit completion bash)" in ~/.bashrc; zsh: avkit completion zsh > a folder of $fpath, as '
        "_avkit; fish: avkit completion fish > ~/.config/fish/completions/avkit.fish",
    )
    p.add_argument("shell", choices=SHELLS)
    return p


def run(args: list[str]) -> int:
    """Print the script."""
    shell = parser().parse_args(args).shell
    try:
        import shtab
    except ImportError as error:
        raise AvkitError("Completion is made by shtab. Install it with pip install shtab.") from error
    print(shtab.complete(_all_commands(), shell))
    return 0


def _all_commands() -> argparse.ArgumentParser:
    """One parser with all commands, as shtab takes it."""
    from avkit.cli import COMMANDS

    p = argparse.ArgumentParser(prog="avkit")
    commands = p.add_subparsers()
    for name, text in COMMANDS.items():
        if name in _LIGHTNING:
            own = commands.add_parser(name, help=text)
            for option in (*FIT_OPTIONS, *SWITCHES):
                own.add_argument(option.split()[0])
        else:
            module = import_module(f"avkit.cli.{name}_" if iskeyword(name) else f"avkit.cli.{name}")
            commands.add_parser(name, help=text, parents=[module.parser()], add_help=False)
    return p
