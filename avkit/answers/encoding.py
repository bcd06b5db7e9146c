# SPDX-License-Identifier: Apache-2.0
"""Values of answers in the types that JSON knows, and back; arrays keep every bit."""

import base64
import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from avkit.errors import DataError
from avkit.reading.boundary import reason_of

#: An object of JSON.
Record: TypeAlias = dict[str, Any]

#: Keys of an encoded array.
_ARRAY_KEYS = {"dtype", "shape", "zlib"}


def encode(value: Any) -> Any:
    """A value in the types that JSON knows: dataclasses as objects, tuples as lists, arrays as in `encode_array`."""
    if isinstance(value, np.ndarray):
        return encode_array(value)
    if isinstance(value, np.generic):
        return value.item()
    if is_dataclass(value) and not isinstance(value, type):
        return encode(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): encode(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [encode(entry) for entry in value]
    return value


def decode(value: Any) -> Any:
    """A value that `encode` wrote; dataclasses stay dictionaries and tuples lists."""
    if isinstance(value, Mapping):
        if value.keys() == _ARRAY_KEYS:
            return decode_array(value)
        return {key: decode(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [decode(entry) for entry in value]
    return value


def encode_array(array: NDArray[Any]) -> Record:
    """An array as `dtype`, `shape`, and its bytes in C order, compressed by zlib and written in base64."""
    data = zlib.compress(np.ascontiguousarray(array).tobytes())
    return {"dtype": str(array.dtype), "shape": list(array.shape), "zlib": base64.b64encode(data).decode("ascii")}


def decode_array(record: Mapping[str, Any]) -> NDArray[Any]:
    """The array that `encode_array` wrote.

    Raises:
        DataError: If the record is damaged, or its bytes are not as many as its shape states.
    """
    try:
        dtype = np.dtype(record["dtype"])
        shape = [int(length) for length in record["shape"]]
        stated = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or min(shape, default=0) < 0:
            raise ValueError(f"{dtype} {shape} is no array of numbers")
        data = zlib.decompressobj().decompress(base64.b64decode(record["zlib"]), stated + 1)
        return np.frombuffer(data, dtype).reshape(shape).copy()
    except Exception as error:  # damaged data raise nearly anything
        raise DataError(f"An array of a result is damaged ({reason_of(error)}). Predict the clip again.") from error


def shorten(value: Any, max_numbers: int = 64) -> Any:
    """An encoded value for people to read: arrays as text that says their type and shape, long lists cut."""
    if isinstance(value, Mapping):
        if value.keys() == _ARRAY_KEYS:
            return describe_array(value["dtype"], value["shape"])
        return {key: shorten(entry, max_numbers) for key, entry in value.items()}
    if isinstance(value, list):
        entries = [shorten(entry, max_numbers) for entry in value[:max_numbers]]
        if len(value) > max_numbers:
            entries.append(f"and {len(value) - max_numbers} more")
        return entries
    return value


def describe_array(dtype: object, shape: object) -> str:
    """Type and shape of an array in words, such as `float32 (3, 4)`."""
    return f"{dtype} {shape}".replace("[", "(").replace("]", ")")
