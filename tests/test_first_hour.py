# SPDX-License-Identifier: Apache-2.0
"""The sessions of docs/first-hour.md: each is run, and prints what it shows."""

import re
import shlex
from pathlib import Path

import pytest

from avkit.cli import main

PAGE = (Path(__file__).parents[1] / "docs" / "first-hour.md").read_text(encoding="utf-8")
#: Sessions by the heading above them.
SESSIONS = [
    pytest.param(session, id=heading.strip().lower().replace(" ", "-"))
    for heading, text in re.findall(r"^## (.*)\n((?:(?!^## ).*\n)*)", PAGE, re.M)
    for session in re.findall(r"```console\n(.*?)```", text, re.S)
]


def commands(session):
    """Each command of a session with the lines that it prints."""
    parts = re.split(r"^\$ ", session, flags=re.M)[1:]
    for part in parts:
        command, *lines = part.rstrip("\n").split("\n")
        yield shlex.split(command), lines


def pattern(lines):
    """What printed lines must match: numbers may differ, a line of dots stands for any lines."""
    parts = []
    for line in lines:
        if line == "...":
            parts.append(r"(?:.*\n)*?")
            continue
        words = [re.escape(word) for word in line.split()]
        text = re.sub(r"\d+(?:\\\.\d+)?", r"\\d+(?:\\.\\d+)?", r"\s+".join(words))
        parts.append(rf"\s*{text}\s*?\n")
    return "".join(parts)


def test_the_page_has_sessions():
    assert SESSIONS


@pytest.mark.parametrize("session", SESSIONS)
def test_session(session, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command, lines in commands(session):
        assert command[0] == "avkit"
        main(command[1:])
        printed = capsys.readouterr()
        text = printed.out + printed.err
        assert re.fullmatch(pattern(lines), text), text
