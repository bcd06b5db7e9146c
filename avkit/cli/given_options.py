# SPDX-License-Identifier: Apache-2.0
"""The options that a command is given, on the command line and in config files, before they are parsed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from avkit.errors import FileError
from avkit.reading.text import parse_yaml, read_yaml

#: What YAML makes of a text.
YamlValue: TypeAlias = "dict[object, YamlValue] | list[YamlValue] | str | int | float | bool | None"


#: What stands for the file of options that are given as the content of one.
CONTENT = "the run's config"


@dataclass(frozen=True)
class GivenOption:
    """An option with its value.

    Attributes:
        name: Dotted name, such as `data.image_size`.
        value: The value; never a mapping, whose entries are options of their own.
        file: The config file; empty for the command line.
    """

    name: str
    value: YamlValue
    file: str = ""


def given_options(args: Sequence[str]) -> Iterator[GivenOption]:
    """Options of a command and of the config files that it names, in the order in which they count.

    Files that cannot be read as YAML are skipped; the parser reports them.

    Args:
        args: Words of the command.
    """
    for word, following in pairwise([*args, ""]):
        if not word.startswith("-"):
            continue
        option, equals, value = word.partition("=")
        if not equals:
            value = following
        if option in ("--config", "-c"):
            yield from _options_of_file(value)
        else:
            yield from _flatten(option.lstrip("-"), _parse(value))


def config_files(args: Sequence[str]) -> Iterator[Path]:
    """The config files that a command names."""
    for word, following in pairwise([*args, ""]):
        option, equals, value = word.partition("=")
        path = value if equals else following
        if option in ("--config", "-c") and not path.startswith("{"):  # which is the content itself
            yield Path(path)


def recipe_files(args: Sequence[str]) -> Iterator[Path]:
    """The files of extraction recipes that a command names."""
    for word, following in pairwise([*args, ""]):
        option, equals, value = word.partition("=")
        if option in ("--recipe", "--features"):
            for name in (value if equals else following).split(","):
                if name.strip().endswith((".yaml", ".yml")):
                    yield Path(name.strip())


def last_value(args: Sequence[str], name: str) -> YamlValue:
    """The value of an option that counts, the last one; None if it is not given."""
    value: YamlValue = None
    for option in given_options(args):
        if option.name == name:
            value = option.value
    return value


def _options_of_file(path: str) -> Iterator[GivenOption]:
    if path.startswith("{"):  # the content itself
        yield from _flatten("", _parse(path), CONTENT)
        return
    if not Path(path).is_file():
        return
    try:
        content = read_yaml(path)
    except FileError:  # jsonargparse reads it too, and says what is wrong
        return
    yield from _flatten("", content, path)


def _parse(text: str) -> YamlValue:
    try:
        value: YamlValue = parse_yaml(text, "an option")
    except FileError:
        return text
    return value


def _flatten(name: str, value: YamlValue, file: str = "") -> Iterator[GivenOption]:
    """The leaves of nested mappings, with dotted names."""
    if not isinstance(value, dict):
        yield GivenOption(name, value, file)
        return
    for key, part in value.items():
        yield from _flatten(f"{name}.{key}".lstrip("."), part, file)
