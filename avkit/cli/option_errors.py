# SPDX-License-Identifier: Apache-2.0
"""Messages of the parser in one line: what was given, what is accepted, which name is nearest."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module

from avkit.errors import AvkitError

#: Modules whose classes an option takes by name.
_CLASSES = {
    "trainer.callbacks": "lightning.pytorch.callbacks",
    "trainer.logger": "lightning.pytorch.loggers",
    "trainer.profiler": "lightning.pytorch.profilers",
    "optimizer": "torch.optim",
    "lr_scheduler": "torch.optim.lr_scheduler",
}
#: What types are called.
_TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "NoneType": "null"}
_UNKNOWN = re.compile(r"(?:Group '(?P<group>[^']+)' does not accept option|Option) '(?P<option>[^']+)'")
_KEY = re.compile(r'Parser key "(?P<key>[^"]+)":(?P<rest>.*)', re.DOTALL)
_VALUE = re.compile(r"(?:Given value|Got value): (?P<value>.*)")
_NESTED = re.compile(r"NestedArg\(key='(?P<key>[^']*)', val='?(?P<value>.*?)'?\)$")
_PROBLEM = re.compile(r"Problem with given class_path '(?P<path>[^']+)':\s*(?P<problem>[^\n]+)")
_MAX_LENGTH = 300


class OptionError(AvkitError):
    """An option of the command line or of a config file is unknown, or has a wrong value."""


def option_error(message: str, options: Iterable[str]) -> OptionError:
    """The error for a message of the parser.

    Args:
        message: The parser's text.
        options: Dotted names of all options.
    """
    names = sorted(options)
    head = message.strip()
    if head.startswith("unrecognized arguments: "):
        return OptionError(_unrecognized(head.partition(": ")[2].split(" "), names))
    if head.endswith("expected one argument"):
        return OptionError(f"{head.split(' ')[1].rstrip(':')} needs a value.")
    unknown = _UNKNOWN.match(head)
    if unknown:
        given = ".".join(part for part in (unknown["group"], unknown["option"]) if part)
        return OptionError(_unknown_option(given, names))
    keyed = _KEY.match(head)
    if keyed:
        return OptionError(_wrong_value(keyed["key"], keyed["rest"]))
    return OptionError(_shorten(head))


def _unrecognized(words: Sequence[str], names: Sequence[str]) -> str:
    word = words[0]
    if not word.startswith("-"):
        return f"{word!r} is no option: names of options begin with --, and a value with spaces is put into quotes."
    return _unknown_option(word.lstrip("-").partition("=")[0], names, dashes="--")


def _unknown_option(given: str, names: Sequence[str], dashes: str = "") -> str:
    last = given.rpartition(".")[2]
    near = [name for name in names if name.rpartition(".")[2] == last] or get_close_matches(given, names, n=1)
    near = near or [name for name in names if name.rpartition(".")[2] in get_close_matches(last, _last_parts(names), 1)]
    hint = f" Did you mean {dashes}{near[0]}?" if near else ""
    return f"Unknown option {dashes}{given}.{hint} 'avkit fit --help-all' lists all."


def _last_parts(names: Sequence[str]) -> list[str]:
    return [name.rpartition(".")[2] for name in names]


def _wrong_value(key: str, text: str) -> str:
    problem = _PROBLEM.search(text)
    if problem and not problem["path"].endswith((".Callback", ".Logger")):
        return f"--{key} {problem['path'].rpartition('.')[2]}: {_problem(key, problem['problem'])}"
    given = _VALUE.search(text)
    if given is None:
        return _shorten(f"--{key}: {text}")
    nested = _NESTED.match(given["value"])
    if nested:
        return f"--{key}.{nested['key']} {nested['value']} belongs to a class: name it before, as --{key} NAME."
    value = given["value"]
    if key in _CLASSES:
        accepted = _class_names(_CLASSES[key])
        return f"--{key} is {_shorten(value)!r}; it takes the name of a class{_nearest(value, accepted)}"
    accepted = _literals(text)
    types = re.findall(r"<class '(\w+)'>", text.partition("Given value type")[0])
    kinds = [_TYPES[name] for name in dict.fromkeys(types) if name in _TYPES]
    takes = ", ".join([*accepted, *kinds]) or "another kind of value"
    return f"--{key} is {_shorten(value)!r}; it takes {takes}{_nearest(value, accepted, listed=True)}"


def _problem(key: str, text: str) -> str:
    """What is wrong with the arguments of a class."""
    missing = text.partition("the following arguments are required: ")[2]
    if missing:
        options = ", ".join(f"--{key}.{name.strip()}" for name in missing.split(","))
        return f"it needs {options}."
    unknown = _UNKNOWN.search(text)
    if unknown:
        return f"it takes no {unknown['option']!r}."
    return _shorten(text)


def _literals(text: str) -> list[str]:
    """The values that an option takes by name."""
    values: list[str] = []
    for literal in re.findall(r"Literal\[([^\]]*)\]", text.partition("Errors:")[0] or text):
        values += [value.strip().strip("'") for value in literal.split(",")]
    return list(dict.fromkeys(values))


def _class_names(module: str) -> list[str]:
    contents = vars(import_module(module))
    return [name for name, value in contents.items() if isinstance(value, type) and not name.startswith("_")]


def _nearest(value: str, accepted: Sequence[str], *, listed: bool = False) -> str:
    by_lower = {name.lower(): name for name in accepted}
    near = get_close_matches(value.lower(), by_lower, n=1, cutoff=0.5)
    if near:
        return f". Did you mean {by_lower[near[0]]!r}?"
    return "." if listed or not accepted else f", such as {', '.join(accepted[:5])}."


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_LENGTH else line[: _MAX_LENGTH - 3] + "..."
