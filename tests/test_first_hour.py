# SPDX-License-Identifier: Apache-2.0
"""The sessions in `docs/first-hour.md` are as they look."""

import re
import shlex
from pathlib import Path

import pytest

from avkit.cli import main

PAGE = Path(__file__).parents[1] / "docs" / "first-hour.md"


def sessions():
    """Commands of each heading with the lines that follow them."""
    for heading, text in re.findall(r"^## (.+?)$(.*?)(?=^## |\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        commands = []
        for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                commands.append((command, output))
        if commands:
            yield pytest.param(commands, id=heading)


def pattern(output):
    """What the shown lines stand for: `...` is any text in a line, or any lines where it stands alone."""
    parts = []
    for line in output.splitlines():
        text = re.escape(line.rstrip()).replace(r"\.\.\.", "[^\n]*")
        parts.append("(?:.*\n)?" if line == "..." else f"{text}\n")
    return re.compile("".join(parts), re.DOTALL)


def run(command, capsys):
    """What a command prints, errors last."""
    words = shlex.split(command)
    assert words[0] == "avkit"
    main(words[1:])
    shown = capsys.readouterr()
    return "".join(f"{line.rstrip()}\n" for line in (shown.out + shown.err).splitlines())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all sessions, in the order of the page."""
    return tmp_path_factory.mktemp("hour")


@pytest.mark.parametrize("commands", sessions())
def test_session(commands, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for command, output in commands:
        printed = run(command, capsys)
        assert pattern(output).fullmatch(printed), f"{command}\n{printed}"


def test_every_heading_has_a_session():
    assert len(list(sessions())) >= 3
