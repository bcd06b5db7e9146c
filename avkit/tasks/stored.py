# SPDX-License-Identifier: Apache-2.0
"""Stored predictions of single samples: the entries of a record, each checked when it is read."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from avkit.answers.encoding import Record, decode, describe_array
from avkit.errors import DataError

T = TypeVar("T")

#: Characters of a value that a message shows.
_MAX_SHOWN = 60


class RecordError(ValueError):
    """The record of one sample cannot be scored.

    Args:
        sample: Id of the sample.
        problem: What is wrong, what is accepted.
    """

    def __init__(self, sample: str, problem: str) -> None:
        super().__init__(f"sample {sample!r}: {problem}.")
        self.sample = sample
        self.problem = problem


def read_each(records: Sequence[Record], read: Callable[[Record, int], T]) -> list[T]:
    """What `read` makes of each record and its row.

    Raises:
        RecordError: For the first record that raises a ValueError.
    """
    values = []
    for row, record in enumerate(records):
        with record_errors(record):
            values.append(read(record, row))
    return values


@contextmanager
def record_errors(record: Record) -> Iterator[None]:
    """Turn what a block raises about a record into an error that names its sample."""
    try:
        yield
    except RecordError:
        raise
    except (ValueError, DataError) as error:
        raise RecordError(str(record.get("id")), str(error).rstrip(".")) from error


def entry(record: Record, key: str) -> Any:
    """A value that a record must have.

    Raises:
        ValueError: If it has none.
    """
    if key not in record:
        raise ValueError(f"there is no {key!r}; it has {', '.join(map(repr, record))}")
    return record[key]


def text_entry(record: Record, key: str) -> str:
    """A text."""
    value = entry(record, key)
    if not isinstance(value, str):
        raise ValueError(f"{key!r} is {show(value)}; give a text")
    return value


def list_entry(record: Record, key: str, length: int | None = None, of: str = "") -> list[Any]:
    """A list, of `length` entries where that is given; `of` says what they are, such as `one for each step`."""
    value = entry(record, key)
    if not isinstance(value, list):
        raise ValueError(f"{key!r} is {show(value)}; give a list")
    if length is not None and len(value) != length:
        raise ValueError(f"{key!r} has {len(value)} entries; give {length}, {of}")
    return value


def texts_entry(record: Record, key: str, steps: int) -> list[str]:
    """A text for each step."""
    texts = list_entry(record, key, steps, "one for each step")
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"{key!r} holds {show(text)}; give texts")
    return texts


def steps_entry(record: Record, wanted: Iterable[int]) -> list[int]:
    """The numbers of the steps that a record is about; all of `wanted` are among them."""
    steps = list_entry(record, "steps")
    for step in steps:
        if type(step) is not int or step < 0:
            raise ValueError(f"'steps' holds {show(step)}; give numbers of steps from 0")
    if len(set(steps)) < len(steps):
        raise ValueError(f"'steps' names a step twice: {show(steps)}")
    lacking = [step for step in wanted if step not in steps]
    if lacking:
        raise ValueError(f"'steps' lacks {', '.join(map(str, lacking[:5]))}, which the official list has labels for")
    return list(steps)


def array_entry(record: Record, key: str, kind: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """An encoded array, see `avkit.answers.encoding`.

    Args:
        record: The record.
        key: Name of the array.
        kind: Kinds of numpy that are accepted, such as `u`.
        shape: Its shape; None for a length that is free.
    """
    array = decode(entry(record, key))
    expected = describe_array("an array", [length or "any" for length in shape])
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{key!r} is {show(array)}; give {expected}, encoded as dtype, shape and zlib")
    fits = len(array.shape) == len(shape)
    for length, wanted in zip(array.shape, shape, strict=False):
        fits &= wanted in (None, length) and length > 0
    if not fits or array.dtype.kind not in kind:
        raise ValueError(f"{key!r} is {describe_array(array.dtype, list(array.shape))}; give {expected}")
    if array.dtype.kind == "f" and not bool(np.isfinite(array).all()):
        raise ValueError(f"{key!r} holds numbers that are not finite")
    return array


def number_of(value: Any, what: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{what} is {show(value)}; give a finite number")
    return float(value)


def index_of(name: Any, index: Mapping[str, int], what: str) -> int:
    """The number of a name."""
    if not isinstance(name, str):
        raise ValueError(f"{what} is {show(name)}; give its name")
    if name not in index:
        near = get_close_matches(name, index, n=1, cutoff=0.4)
        hint = f"the nearest is {near[0]!r}" if near else f"they are {', '.join(list(index)[:5])}, ..."
        raise ValueError(f"{what} {name!r} is none of {len(index)}; {hint}")
    return index[name]


def show(value: Any) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
