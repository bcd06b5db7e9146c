# SPDX-License-Identifier: Apache-2.0
"""The sessions in `docs/first-hour.md` are as they look."""

import doctest
import json
import re
import shlex
from pathlib import Path

import pytest

from avkit.cli import main
from tests.clips import tone, write_clip

PAGE = Path(__file__).parents[1] / "docs" / "first-hour.md"
#: Headings whose sessions train once more.
SLOW = ("After a kill", "Two runs beside each other")
SECONDS = 4


def sessions():
    """Headings, and the commands below each with the lines that follow them."""
    shown = {}
    for heading, text in re.findall(r"^## (.+?)$(.*?)(?=^## |\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        commands = []
        for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                commands.append((command, output))
        if commands:
            shown[heading] = commands
    return shown


def headings():
    """Headings with a session, as parameters of a test."""
    return [pytest.param(heading, marks=[pytest.mark.slow] if heading in SLOW else []) for heading in sessions()]


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
    """One folder for all sessions, in the order of the page, with the files that they name."""
    folder = tmp_path_factory.mktemp("hour")
    (folder / "videos").mkdir()
    (folder / "labels").mkdir()
    times = [k / 8 for k in range(SECONDS * 8)]
    for k, name in enumerate(("dog", "saw", "duo")):
        write_clip(folder / "videos" / f"{name}.mp4", times, 8, sound=tone(SECONDS, 16_000, 300 + 100 * k))
    write_clip(folder / "videos" / "muted.mp4", times, 8)
    (folder / "labels" / "dog.txt").write_text("0.5\t1.5\tbark\n2\t3\tbark\n")
    (folder / "labels" / "saw.txt").write_text("0\t2\tsaw\n")
    (folder / "labels" / "duo.txt").write_text("1\t3\tsaw\n")
    (folder / "one.jsonl").write_text(json.dumps({"id": "dog", "video": "videos/dog.mp4", "labels": ["bark"]}))
    return folder


@pytest.fixture(scope="module")
def played():
    """Headings whose sessions have been played."""
    return set()


@pytest.mark.parametrize("heading", headings())
def test_session(heading, folder, played, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for earlier, commands in sessions().items():
        needed = earlier not in SLOW and earlier not in played  # it makes what later ones use
        if earlier == heading or needed:
            played.add(earlier)
            play(commands, capsys)
        if earlier == heading:
            return


def play(commands, capsys):
    for command, output in commands:
        printed = run(command, capsys)
        assert pattern(output).fullmatch(printed), f"{command}\n{printed}"


def test_every_heading_has_a_session():
    assert len(sessions()) >= 7


def test_metrics_alone():
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.attempted >= 7
    assert result.failed == 0
