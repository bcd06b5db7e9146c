# SPDX-License-Identifier: Apache-2.0
"""Options that error texts of readers advise exist."""

import re
from pathlib import Path

from avkit.cli.check import parser as check_parser
from avkit.cli.extract import parser as extract_parser
from avkit.cli.trainer import make_cli

PACKAGE = Path(__file__).parents[1] / "avkit"
READERS = ("datasets", "features", "media", "training")


def advised(pattern):
    """What matches a pattern in the texts of readers, each with the files that say it."""
    places = {}
    for folder in READERS:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            for name in re.findall(pattern, path.read_text()):
                places.setdefault(name, []).append(path.name)
    return places


def test_options_of_data_exist():
    names = {action.dest for action in make_cli(["--tasks", "avs"]).parser._actions}
    places = advised(r"--(data\.[a-z_.]*[a-z_])")
    assert places
    assert {name: files for name, files in places.items() if name not in names} == {}


def test_options_of_check_exist():
    names = {word for action in check_parser()._actions for word in action.option_strings}
    places = advised(r"(--[a-z-]+) of avkit check")
    assert "--allow-shared" in places
    assert places.keys() <= names


def test_options_of_extract_exist():
    names = {word for action in extract_parser()._actions for word in action.option_strings}
    assert set(advised(r"avkit extract[^'\"]*? (--[a-z-]+)")) <= names


def test_keywords_are_given_as_options_too():
    """What a text advises as a keyword of Python, it gives as an option of the command line too."""
    for folder in ("datasets", "features"):
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            for name in re.findall(r"\((allow_missing|silent_ok)=True", path.read_text()):
                assert f"--data.{name} true" in path.read_text(), path.name
