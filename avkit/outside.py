# SPDX-License-Identifier: Apache-2.0
"""Parts from outside avkit, named `package.module:Class`: which of them may be imported, and from where.

What a user types is free. What a file of somebody else names, such as a run folder's, is imported only if the user
trusts the file, and never from the file's own folder or from the current one.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import NamedTuple, TypeVar

from avkit.errors import AvkitError

Part = TypeVar("Part")

#: Libraries of networks that avkit runs itself, as `LIBRARY:NAME`, so that such a name is no part from outside.
LIBRARIES = ("timm", "open_clip")

#: Packages whose parts have been imported in this process.
imported_packages: set[str] = set()


class UntrustedError(AvkitError):
    """A file that another may have written names code from outside avkit."""


class PartError(AvkitError, TypeError):
    """A part from outside cannot be built: it does not keep its contract, or fails by itself."""


class Policy(NamedTuple):
    """Which parts from outside may be imported.

    Attributes:
        packages: Packages that the user named.
        trust: Whether all others may be imported too.
        folders: Folders of others, such as a run's, of which nothing is imported.
        source: What names the parts, for messages.
    """

    packages: frozenset[str] = frozenset()
    trust: bool = False
    folders: tuple[Path, ...] = ()
    source: str = "The run"


#: None where every part may be imported, as in a program of the user's.
_policy: ContextVar[Policy | None] = ContextVar("policy", default=None)


@contextmanager
def restricted(policy: Policy) -> Iterator[None]:
    """Import parts from outside as a policy allows while the block runs; packages allowed before stay so."""
    before = _policy.get()
    if before is not None:
        packages = policy.packages | before.packages
        policy = Policy(packages, policy.trust, (*policy.folders, *before.folders), policy.source)
    token = _policy.set(policy)
    try:
        yield
    finally:
        _policy.reset(token)


def import_part(kind: str, path: str, base: type[Part]) -> type[Part]:
    """The class that `package.module:Class` names.

    Args:
        kind: What it is, in the singular, such as `task`.
        path: The name received.
        base: Class that it must derive from.

    Raises:
        ValueError: If it cannot be imported, or is no such class.
        UntrustedError: If only somebody else's file names it.
    """
    module, _, attribute = path.partition(":")
    try:
        part: object = getattr(_import(kind, path, module), attribute)
    except AvkitError:
        raise
    except Exception as error:  # a module may raise anything while it is imported
        expected = isinstance(error, ImportError | AttributeError | ValueError)
        raise _cannot_load(kind, path, str(error) if expected else f"{type(error).__name__}: {error}") from error
    if not (isinstance(part, type) and issubclass(part, base)):
        raise ValueError(
            f"Cannot load {kind} {path!r}: {attribute} is no {kind}. Derive it from {base.__module__}.{base.__name__}."
        )
    return part


def is_outside(name: str) -> bool:
    """Whether a name is `package.module:Class`, and not that of a network of a library that avkit runs itself."""
    library, colon, _ = name.partition(":")
    return bool(colon) and library not in LIBRARIES


def _import(kind: str, path: str, module: str) -> object:
    package = module.partition(".")[0]
    policy = _policy.get()
    if package == "avkit":
        return import_module(module)
    if policy is None or package in policy.packages:
        imported = _import_named_by_user(module)
    else:
        imported = _import_named_by_file(kind, path, module, policy)
    imported_packages.add(package)
    return imported


def _import_named_by_user(module: str) -> object:
    """Import from installed packages, else from the folder that the command was started in."""
    from importlib.util import find_spec

    package = module.partition(".")[0]
    if package and package not in sys.modules and find_spec(package) is None and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    return import_module(module)


def _import_named_by_file(kind: str, path: str, module: str, policy: Policy) -> object:
    """Import with the user's consent from installed packages and from PYTHONPATH, and say from where.

    Raises:
        UntrustedError: Without consent, or if only a folder of others or the current folder has the module.
    """
    everything = list(sys.path)
    sys.path = [entry for entry in everything if not _is_excluded(Path(entry), policy.folders)]
    try:
        place = _locate(module)
        if not policy.trust:
            where = f" (here: {place})" if place else ""
            raise UntrustedError(
                f"{policy.source} names {kind} {path!r}, which is code from outside avkit{where}. If you trust whoever "
                "made it, --trust imports it (trust=True in Python)."
            )
        if place is None or _is_inside(Path(place), policy.folders):
            raise UntrustedError(
                f"{policy.source} names {kind} {path!r}, and no installed package has it. Nothing is imported from a "
                f"run's folder, nor by a run's wish from the current one: install {module.partition('.')[0]}, or put "
                "its folder into PYTHONPATH."
            )
        print(f"avkit imports {path} from {place}, as {policy.source} asks", file=sys.stderr)
        return import_module(module)
    finally:
        sys.path = everything


def _locate(module: str) -> str | None:
    """The file of a module, found without importing anything; None if there is none."""
    from importlib.util import find_spec

    package, *rest = module.split(".")
    if package in sys.modules:
        spec = sys.modules[package].__spec__
    else:
        spec = find_spec(package) if package else None
    for number in range(len(rest)):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join([package, *rest[: number + 1]]), list(spec.submodule_search_locations))
    return None if spec is None else spec.origin


def _is_excluded(entry: Path, folders: Iterable[Path]) -> bool:
    """Whether a place of modules is a folder of others, or the current folder without the user's own word."""
    named = [Path(name).resolve() for name in os.environ.get("PYTHONPATH", "").split(os.pathsep) if name]
    current = entry.resolve() == Path.cwd() and entry.resolve() not in named
    return current or _is_inside(entry, folders)


def _is_inside(path: Path, folders: Iterable[Path]) -> bool:
    place = path.resolve()
    return any(place.is_relative_to(folder.resolve()) for folder in folders)


def hide_current_folder() -> None:
    """Take the current folder, which `python -m` puts first, off the places that modules are imported from."""
    sys.path[:] = [entry for entry in sys.path if not _is_excluded(Path(entry), ())]


@contextmanager
def building(kind: str, part: type) -> Iterator[None]:
    """Say which part from outside is at fault, and where, if the block that builds it fails.

    Errors that speak to the user, which are those of avkit and ValueError, pass.

    Args:
        kind: What it is, in the singular, such as `task`.
        part: Its class.

    Raises:
        PartError: In place of whatever was raised.
    """
    try:
        yield
    except (AvkitError, ValueError):
        raise
    except Exception as error:
        if part.__module__.partition(".")[0] == "avkit":
            raise
        raise PartError(
            f"{kind} {part.__module__}:{part.__qualname__} cannot be built, {line_of(part, error)}: "
            f"{type(error).__name__}: {error}. --debug shows more."
        ) from error


def line_of(part: type, error: Exception | None = None) -> str:
    """File and line of a class, or of the deepest line of its file in an error's traceback."""
    import inspect
    import traceback

    try:
        file = inspect.getsourcefile(part)
        line = inspect.getsourcelines(part)[1]
    except (OSError, TypeError):  # written at a prompt
        return "of no file"
    for frame in traceback.extract_tb(error.__traceback__ if error else None):
        if frame.filename == file and frame.lineno:
            line = frame.lineno
    return f"{file}, line {line}"


def _cannot_load(kind: str, path: str, problem: str) -> ValueError:
    return ValueError(
        f"Cannot load {kind} {path!r}: {problem}. A {kind} from outside avkit is named package.module:Class, and its "
        "package must be installed or in the folder that avkit is started from."
    )
