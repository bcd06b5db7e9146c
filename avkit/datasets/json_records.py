# SPDX-License-Identifier: Apache-2.0
"""Records of JSON annotation files: values of the types that a reader expects, or an error that names the field."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avkit.errors import AvkitError, DataError
from avkit.reading.boundary import reason_of
from avkit.reading.text import read_json

#: What a value that is missing stands for.
_MISSING = object()


class JsonRecord:
    """An object of a JSON file, read value by value.

    Args:
        values: The object, or what stands in its place.
        where: File and number of the record, for messages.
        form: What a record has, as a sentence without a full stop.

    Raises:
        DataError: If it is no object.
    """

    def __init__(self, values: Any, where: str, form: str) -> None:
        self.where = where
        self.form = form
        if not isinstance(values, dict):
            raise DataError(f"{where}: {_shown(values)} is no object in braces. {form}.")
        self.values: dict[str, Any] = values

    def text(self, key: str, default: str | None = None) -> str:
        """A text; a default makes it optional."""
        value = self.values.get(key, _MISSING if default is None else default)
        if not isinstance(value, str):
            raise self._error(key, value, "a text")
        return value

    def name(self, key: str, default: str | None = None) -> str:
        """A text or a whole number, as text."""
        value = self.values.get(key, _MISSING if default is None else default)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self._error(key, value, "a text or a whole number")
        return str(value)

    def number(self, key: str) -> float:
        """A finite number, which may be written as text."""
        value = self.values.get(key, _MISSING)
        number = as_number(value)
        if number is None:
            raise self._error(key, value, "a number")
        return number

    def whole(self, key: str) -> int:
        """A whole number, which may be written as text."""
        number = self.number(key)
        if number != int(number):
            raise self._error(key, self.values[key], "a whole number")
        return int(number)

    def items(self, key: str) -> list[Any]:
        """A list."""
        value = self.values.get(key, _MISSING)
        if not isinstance(value, list):
            raise self._error(key, value, "a list")
        return value

    def _error(self, key: str, value: Any, expected: str) -> DataError:
        what = "is missing" if value is _MISSING else f"is {_shown(value)} and not {expected}"
        return DataError(f"{self.where}, field {key!r}: {what}. {self.form}.")


def as_number(value: Any) -> float | None:
    """A value of JSON as a finite number, or None where it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def read_records(path: Path, form: str) -> list[JsonRecord]:
    """The records of a JSON file that is a list of objects.

    Args:
        path: The file, which may be gzipped.
        form: What a record has, for messages.

    Raises:
        DataError: If it is no such file.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path} holds {type(content).__name__} instead of a list of records. {form}.")
    return [JsonRecord(values, f"{path}, record {k}", form) for k, values in enumerate(content)]


@contextmanager
def annotation_errors(title: str, root: Path) -> Iterator[None]:
    """Turn what a reader raises over an annotation file of an unforeseen form into a `DataError`."""
    try:
        yield
    except (AvkitError, NotImplementedError, AssertionError):
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise DataError(
            f"{title}: an annotation file under {str(root)!r} has another form than its authors publish "
            f"({type(error).__name__}: {reason_of(error)}). Take the files as their authors publish them."
        ) from error


def _shown(value: Any) -> str:
    """A value, shortened."""
    text = repr(value)
    return f"{text[:80]}..." if len(text) > 80 else text
