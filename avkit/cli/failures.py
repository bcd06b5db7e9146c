# SPDX-License-Identifier: Apache-2.0
"""One line about whatever ended a command."""

import re
import sysconfig
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import NamedTuple

import avkit
from avkit.errors import AvkitError
from avkit.outside import imported_packages

_OWN = Path(avkit.__file__).parent
_LIBRARIES = [Path(path) for path in sysconfig.get_paths().values()]
#: A place in the text of a traceback, as a worker process sends it.
_PLACE = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
_HINT = "--debug shows where it comes from."
_MAX_MESSAGE = 600
#: Modules of packages of another name.
_MODULES = {"pillow": "PIL", "pyyaml": "yaml"}


class Place(NamedTuple):
    """A line of a traceback."""

    file: str
    line: int
    function: str


class Failure(NamedTuple):
    """What was raised, here or in a worker process.

    Attributes:
        kind: Name of the exception.
        message: Its text.
        places: Lines of its traceback, the deepest last.
    """

    kind: str
    message: str
    places: list[Place]


def describe(error: Exception) -> str:
    """What ended a command, in one line: an error of avkit by its text, others with the place they come from.

    Args:
        error: What was raised.
    """
    failure = _from_worker(error) or _from_here(error)
    if isinstance(error, AvkitError):
        return failure.message
    if isinstance(error, ModuleNotFoundError) and _is_dependency(error.name or ""):
        return f"{error.name} is not installed, which this command needs. Install it: pip install avkit"
    short = _shorten(failure.message)
    place = _deepest_known(failure.places)
    if place and not _is_own(place):
        return (
            f"{place.file}, line {place.line}, in {place.function}: {failure.kind}: {short} (This part is "
            f"not avkit's; mend it there. {_HINT})"
        )
    if _is_for_users(error, failure):
        return failure.message
    where = f" at {place.file}, line {place.line}" if place else ""
    return f"internal error{where}: {failure.kind}: {short} (Please report it. {_HINT})"


def _is_dependency(module: str) -> bool:
    """Whether a module is of a package that avkit is installed with."""
    try:
        required = requires("avkit") or []
    except PackageNotFoundError:
        required = []
    names = {re.split(r"[^\w.-]", line)[0].lower().replace("-", "_") for line in required if "extra ==" not in line}
    names = {_MODULES.get(name, name) for name in names}
    return module.partition(".")[0] in names


def _from_here(error: Exception) -> Failure:
    message = error.args[0] if isinstance(error, KeyError) and error.args else error  # str of a KeyError has quotes
    frames = traceback.extract_tb(error.__traceback__)
    places = [Place(frame.filename, frame.lineno or 0, frame.name) for frame in frames]
    return Failure(type(error).__name__, str(message), places)


def _from_worker(error: Exception) -> Failure | None:
    """What a worker process raised, whose traceback torch puts into the text; None if it is no such text."""
    text = str(error.args[0]) if error.args else ""
    _, separator, original = text.partition("Original Traceback (most recent call last):\n")
    if not separator:
        return None
    places = [Place(file, int(line), function) for file, line, function in _PLACE.findall(original)]
    last = re.split(r"\n(?=\S)", original.strip())[-1]
    kind, _, message = last.partition(": ")
    return Failure(kind.rpartition(".")[2], message.strip("'\"") if kind == "KeyError" else message, places)


def _is_for_users(error: Exception, failure: Failure) -> bool:
    """Whether the text of an error is a sentence for users."""
    if isinstance(error, KeyError):
        return " " in failure.message  # else it is the key alone
    return isinstance(error, ValueError | FileNotFoundError) or type(error).__module__.startswith("lightning")


def _deepest_known(places: Sequence[Place]) -> Place | None:
    """The deepest line of avkit or of a part from outside, for which libraries were called."""
    for place in reversed(places):
        if _is_own(place) or _is_outside(place):
            return place
    return places[-1] if places else None


def _is_own(place: Place) -> bool:
    return Path(place.file).is_relative_to(_OWN)


def _is_outside(place: Place) -> bool:
    """Whether a line is of a part from outside avkit: no library, or a package that was imported as a part."""
    path = Path(place.file)
    if place.file.startswith("<") or imported_packages & {*path.parts, path.stem}:
        return not place.file.startswith("<")
    return not any(path.is_relative_to(folder) for folder in _LIBRARIES)


def _shorten(text: str) -> str:
    """The text in one line, cut where it is very long, as those of libraries may be."""
    line = " ".join(text.split())
    return line if len(line) <= _MAX_MESSAGE else line[: _MAX_MESSAGE - 3] + "..."
