# SPDX-License-Identifier: Apache-2.0
"""What a command may import: what its user typed, and with `--trust` what files of others name."""

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from avkit.cli.given_options import config_files, recipe_files
from avkit.outside import Policy
from avkit.training.run_folder import RunFolder

#: Words of every command that are not options of the command itself.
SWITCHES = ("--trust", "--debug", "--commercial_safe", "--offline")
_PART = re.compile(r"([A-Za-z_]\w*)[\w.]*:[A-Za-z_]\w*")


def command_policy(args: Sequence[str]) -> Policy:
    """The policy for the words of a command.

    Args:
        args: Words after the name of the command.
    """
    words = [part for word in args for part in {word, *re.split("[=,]", word)}]
    runs = [Path(word) for word in words if is_run(Path(word))]
    runs += [path.parent for path in config_files(args) if is_run(path.parent)]
    names = [f"recipe {path}" for path in recipe_files(args)] or [str(run) for run in runs]
    return Policy(
        packages=frozenset(_typed_packages(args)),
        trust="--trust" in args,
        folders=tuple(runs),
        source=", ".join(dict.fromkeys(names)) or "The run",
    )


def is_run(path: Path) -> bool:
    """Whether a folder is that of a run, from whomever."""
    try:
        return RunFolder(path).facts.is_file()
    except OSError:  # a word that is too long for a name
        return False


def without_switches(args: Sequence[str]) -> list[str]:
    """The words that are options of the command itself."""
    return [word for word in args if word not in SWITCHES]


def add_switches(parser: argparse.ArgumentParser, *, trust: bool = True) -> None:
    """Add `--debug`, and `--trust` to commands that read run folders or recipes."""
    if trust:
        parser.add_argument(
            "--trust",
            action="store_true",
            help="import parts from outside avkit that the run or the recipe names, and say which",
        )
        parser.add_argument(
            "--commercial_safe",
            action="store_true",
            help="refuse data, weights and runs whose licence does not permit commercial use; 'avkit info --licences' "
            "lists all",
        )
        parser.add_argument(
            "--offline", action="store_true", help="download nothing: weights are files, folders, or in caches"
        )
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")


def _typed_packages(args: Sequence[str]) -> Iterator[str]:
    """Packages of the parts that are named in the words, and in config files of the user's own."""
    texts = list(args)
    for path in config_files(args):
        if path.is_file() and not is_run(path.parent):
            texts.append(path.read_text(encoding="utf-8", errors="replace"))
    for text in texts:
        for match in _PART.finditer(text):
            yield match.group(1)
