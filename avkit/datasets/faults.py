# SPDX-License-Identifier: Apache-2.0
"""Faults of data: the first one is raised when data are used, all are collected when data are checked."""

from types import TracebackType

from avkit.errors import AvkitError


class Faults:
    """A context manager around each part of a check; what comes after a faulty part goes on where faults are collected.

    Args:
        collect: Keep every fault in `errors`; else the first one is raised.

    Attributes:
        errors: The faults so far, in the order in which they were met.
    """

    def __init__(self, *, collect: bool = False) -> None:
        self.collect = collect
        self.errors: list[AvkitError] = []

    def __enter__(self) -> None:
        """Begin a part; parts may lie within each other."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        """End a part."""
        if not self.collect or not isinstance(error, AvkitError):
            return False
        self.errors.append(error)
        return True


#: Faults that are raised at once.
RAISE = Faults()
