# SPDX-License-Identifier: Apache-2.0
"""Exceptions that a caller may want to catch, and the error for unknown names."""

import signal
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class AvkitError(Exception):
    """Base class of avkit's errors; the command line prints their text without a traceback."""


class MediaError(AvkitError):
    """A media file cannot be read, or has no track of the wanted kind."""


class DataError(AvkitError):
    """A dataset on disk is incomplete or inconsistent."""


class EmptySplitError(DataError):
    """No clip of a dataset belongs to a split."""


class FileError(DataError):
    """A file cannot be read: it is missing, damaged, changed, or not what it should be; see `file_error`."""


class UnreachableError(FileError):
    """The place of a file cannot be reached now, such as a bucket."""


class RunError(AvkitError):
    """A run folder or checkpoint does not fit the wanted tasks, system or data."""


class DivergedError(AvkitError):
    """Training produced a loss that is not a finite number."""


class Stopped(BaseException):  # not an Exception, so that nothing takes it for a failure that can be passed over
    """The process was asked to end, by Ctrl-C (SIGINT) or by SIGTERM.

    Args:
        number: The signal.
        advice: How to go on, as sentences; the command line says it otherwise.
    """

    def __init__(self, number: int, advice: str = "") -> None:
        super().__init__(number, advice)
        self.signal = signal.Signals(number)
        self.advice = advice

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 128 + self.signal

    @property
    def cause(self) -> str:
        """The signal in words."""
        return "Ctrl-C" if self.signal == signal.SIGINT else self.signal.name


def file_error(path: str | Path, problem: str, advice: str) -> FileError:
    """The error for a file that cannot be read.

    Args:
        path: The file, and the line in it where one is at fault.
        problem: What is wrong, with its verb and without a full stop, such as `is cut off`.
        advice: What to do, as a sentence.
    """
    return FileError(f"{path} {problem}. {advice}")


def unknown_name(kind: str, name: str, accepted: Iterable[str]) -> ValueError:
    """The error for a name that is not accepted; it suggests the nearest accepted name and lists all.

    Args:
        kind: What is named, in the singular, such as `task`.
        name: The name received.
        accepted: The names accepted.
    """
    names = sorted(accepted)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")


def count_of(count: int, singular: str, plural: str = "") -> str:
    """A count with its noun, such as `1 clip` and `2 clips`.

    Args:
        count: How many.
        singular: The noun for one.
        plural: The noun for others; with an `s` where empty.
    """
    noun = singular if count == 1 else plural or f"{singular}s"
    return f"{count} {noun}"
