# SPDX-License-Identifier: Apache-2.0
"""The few exceptions that a caller may want to catch, and the wording of unknown names."""

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module


class AvkitError(Exception):
    """Base of avkit's own errors; its text is written for the person at the keyboard."""


class MediaError(AvkitError):
    """A media file cannot be read, or lacks the track that is asked for."""


class DataError(AvkitError):
    """A dataset on disk is incomplete or contradicts itself."""


class RunError(AvkitError):
    """A run folder or checkpoint does not fit what is asked of it."""


class DivergedError(AvkitError):
    """Training produced a loss that is not a finite number."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a name that is not in a table: the nearest known name, then all of them.

    Args:
        kind: What the table holds, in the singular, such as `task`.
        name: The name received.
        known: The names accepted.
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")


def import_attribute(kind: str, path: str) -> object:
    """What `package.module:Class` names.

    Args:
        kind: What it is, in the singular, such as `task`.
        path: The name received.

    Raises:
        ValueError: If it cannot be imported.
    """
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"Cannot load {kind} {path!r}: {error}. A {kind} from outside avkit is named package.module:Class, and its "
            "package must be installed or in the folder that avkit is started from."
        ) from error
