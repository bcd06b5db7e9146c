# SPDX-License-Identifier: Apache-2.0
"""Masks as run lengths in the form of COCO, which pycocotools and other tools read and write."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.answers.encoding import Record

#: A character carries five bits of a number, the lowest first; the sixth says that another character follows.
_BITS = 5
_MORE = 1 << _BITS
_SIGN = 1 << (_BITS - 1)
#: Character of the value 0.
_ZERO = 48
_CHARACTERS = re.compile(r"[0-o]*")
#: Characters of a number; pictures have far fewer pixels than eight can count.
_MAX_LENGTH = 8
#: Pixels of a picture.
_MAX_PIXELS = 2**28


def encode_rle(mask: NDArray[np.bool_]) -> Record:
    """A mask (H, W) as `size`, height and width, and `counts`, the compressed text of COCO.

    Runs follow the columns and begin with pixels outside of the mask; from the fourth on each is written as its
    difference to the one before the last.
    """
    pixels = mask.ravel(order="F")
    ends = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], ends, [pixels.size]]))
    if pixels.size and pixels[0]:
        lengths = np.concatenate([[0], lengths])
    numbers = lengths.astype(np.int64)
    numbers[3:] -= lengths[1:-2]
    return {"size": list(mask.shape), "counts": _write_numbers(numbers)}


def decode_rle(record: object) -> NDArray[np.bool_]:
    """The mask (H, W) of a record of `encode_rle`, or one of COCO; `counts` may be a list of lengths.

    Raises:
        ValueError: If it is no such record, or its runs are not as long as its size states.
    """
    if not isinstance(record, Mapping) or not {"size", "counts"} <= record.keys():
        raise ValueError('a mask is no run lengths of COCO; give {"size": [height, width], "counts": "..."}')
    height, width = _size(record["size"])
    lengths = _lengths(record["counts"])
    if bool((lengths < 0).any()) or int(lengths.sum()) != height * width:
        raise ValueError(
            f"the runs of a mask cover {int(lengths.sum())} pixels, and its size is {height} x {width}; write it again"
        )
    values = np.zeros(len(lengths), np.bool_)
    values[1::2] = True
    return np.repeat(values, lengths).reshape(width, height).T


def _size(size: Any) -> tuple[int, int]:
    """Checked height and width."""
    whole = isinstance(size, list) and len(size) == 2 and all(type(length) is int for length in size)
    if not whole or min(size) < 1 or size[0] * size[1] > _MAX_PIXELS:
        raise ValueError(f"a mask has the size {str(size)[:40]}; give [height, width] in pixels")
    return size[0], size[1]


def _lengths(counts: Any) -> NDArray[np.int64]:
    """Lengths of the runs."""
    if isinstance(counts, str):
        numbers = _read_numbers(counts)
        # each of the two chains of differences becomes lengths by adding up
        for first in (1, 2):
            numbers[first::2] = numbers[first::2].cumsum()
        return numbers
    if isinstance(counts, list) and all(type(count) is int and 0 <= count <= _MAX_PIXELS for count in counts):
        return np.array(counts, np.int64)
    raise ValueError("the counts of a mask are neither a text nor a list of lengths")


def _write_numbers(numbers: NDArray[np.int64]) -> str:
    remaining = numbers.copy()
    characters = np.zeros((len(numbers), _MAX_LENGTH), np.uint8)
    used = np.zeros(characters.shape, np.bool_)
    going_on = np.ones(len(numbers), np.bool_)
    for place in range(_MAX_LENGTH):
        if not going_on.any():
            break
        used[:, place] = going_on
        bits = remaining & (_MORE - 1)
        remaining >>= _BITS
        end = np.where(bits & _SIGN, -1, 0)  # what is left when the sign says the rest
        follows = going_on & (remaining != end)
        characters[:, place] = bits + np.where(follows, _MORE, 0) + _ZERO
        going_on = follows
    return characters[used].tobytes().decode("ascii")


def _read_numbers(text: str) -> NDArray[np.int64]:
    if not _CHARACTERS.fullmatch(text):
        raise ValueError(f"the counts of a mask are no compressed text of COCO: {text[:20]!r}")
    values = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - _ZERO
    is_last = (values & _MORE) == 0
    if not len(values) or not is_last[-1]:
        raise ValueError("the counts of a mask are cut off")
    ends = np.flatnonzero(is_last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if int(lengths.max()) > _MAX_LENGTH:
        raise ValueError("the counts of a mask hold a number that no picture has pixels for")
    place = np.arange(len(values)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((values & (_MORE - 1)) << (_BITS * place), starts)
    negative = (values[ends] & _SIGN) != 0
    return np.where(negative, numbers - (np.int64(1) << (_BITS * lengths)), numbers)
