"""Every command and block of Python in the documentation names what there is."""

import ast
import re
import shlex
from contextlib import redirect_stdout, suppress
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest

from avkit.cli import COMMANDS, main
from avkit.cli.given_options import last_value
from avkit.cli.trainer import make_cli
from avkit.leaderboard.recipes import find_recipe
from avkit.tasks import split_names

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Pages whose text is of earlier versions, or is run by a test of its own.
LEFT_OUT = ("changelog.md", "first-hour.md")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:^|\$ |&& |; )avkit (\w+)(.*)$")
#: Options of the trainer and the data, which only these commands take.
LIGHTNING = ("fit", "test", "validate")
FREE = ("--model.heads", "--optimizer", "--lr_scheduler", "--trainer.callbacks", "--trainer.logger")
SWITCHES = (
    "--dataset",
    "--split",
    "--config",
    "--trust",
    "--debug",
    "--commercial_safe",
    "--beside",
    "--help",
    "--help-all",
    "--print_config",
)
SYSTEM = "model.system.name"


def blocks(page, *languages):
    for language, text in BLOCK.findall(page.read_text()):
        if language in languages:
            yield text


def commands():
    for page in PAGES:
        if page.name in LEFT_OUT:
            continue
        for text in blocks(page, "", "console", "bash", "sh"):
            for line in re.sub(r"\\\n\s*", "", text).splitlines():
                for part in line.split(" && "):
                    found = COMMAND.search(part.split("  #")[0].strip())
                    if found and not line.startswith("avkit fit:"):
                        yield pytest.param(found[1], found[2], id=f"{page.name}-{found[1]}{found[2][:60]}")


@pytest.fixture(scope="session")
def options_of():
    """All options of a command, by its own help."""
    known = {}

    def read(*command, system="av_unified"):
        key = (*command, system)
        if key not in known:
            text = StringIO()
            with redirect_stdout(text), suppress(SystemExit):
                if command[0] in LIGHTNING:
                    make_cli(["--model.system.name", system, "--help"])
                else:
                    main([*command, "--help"])
            known[key] = set(re.findall(r"(?<![\w-])--?[\w.]+(?:-\w+)*", text.getvalue()))
        return known[key]

    return read


@pytest.mark.parametrize(("command", "rest"), commands())
def test_a_command_takes_its_options(command, rest, options_of):
    assert command in COMMANDS
    words = shlex.split(rest.replace("...", "ANY").replace("[", " ").replace("]", " "), comments=True)
    if "|" in words:
        words = words[: words.index("|")]
    pairs = list(pairwise([*words, ""]))
    recipes = [name for word, name in pairs if word == "--config" and name.islower() and not name.endswith(".yaml")]
    named = [f"--config={find_recipe(name)}" for name in recipes]
    system = last_value([*named, *words], SYSTEM)
    sub = words[:1] if command in ("scenes", "leaderboard") and words and words[0].isalpha() else []
    if sub and sub[0] not in ("add", "verify", "export", "preview"):
        sub = []
    for word, following in pairs:
        if word == "--tasks" and following.islower():
            split_names(following)
        option = word.partition("=")[0]
        if re.match(r"--?[A-Za-z]", option) and not (command in LIGHTNING and is_free(option)):
            known = options_of(command, *sub, system=str(system or "av_unified"))
            assert option in known, f"avkit {command} has no {option}"


def is_free(option):
    """Options whose names depend on a value, and those of the commands beside Lightning's."""
    return option.startswith(FREE) or option in SWITCHES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_python_are_python(page):
    for text in blocks(page, "python"):
        if not text.lstrip().startswith(">>>"):
            tree = ast.parse(text)
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "avkit":
                    module = __import__(node.module, fromlist=["_"])
                    for alias in node.names:
                        assert hasattr(module, alias.name), f"{page.name}: {node.module} has no {alias.name}"
