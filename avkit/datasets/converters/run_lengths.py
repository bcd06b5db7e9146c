# SPDX-License-Identifier: Apache-2.0
"""Run-length codes of masks: lengths of runs of pixels outside and inside of an object, in turn."""

import numpy as np
from numpy.typing import NDArray

from avkit.errors import DataError

#: Bits of a number that one character of a compressed text holds, and characters of the longest number.
_BITS = 5
_MAX_CHARACTERS = 10


def decode_text(text: str, where: str) -> NDArray[np.int64]:
    """Lengths of runs of COCO's compressed text.

    Each character less 48 holds five bits, the lowest first; bit 32 says that the number goes on, and bit 16 of its
    last character that it is negative. From the fourth number on, each is a difference to the last but one.

    Args:
        text: The text.
        where: File and place, for messages.

    Raises:
        DataError: If it is no such text.
    """
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise DataError(f"{where}: {text[:20]!r} is no compressed run-length code. Export it again.")
    is_last = (codes & 32) == 0
    number = np.cumsum(is_last) - is_last
    lasts = np.flatnonzero(is_last)
    firsts = np.concatenate([[0], lasts[:-1] + 1])
    place = np.arange(len(codes)) - firsts[number]
    if place.max() >= _MAX_CHARACTERS:
        raise DataError(f"{where}: a run-length code has a number of {place.max() + 1} characters. Export it again.")
    values = np.zeros(len(lasts), np.int64)
    np.add.at(values, number, (codes & 31) << (_BITS * place))
    is_negative = (codes[lasts] & 16) > 0
    values[is_negative] -= np.int64(1) << (_BITS * (place[lasts][is_negative] + 1))
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def decode_runs(counts: NDArray[np.int64], pixels: int, where: str) -> NDArray[np.bool_]:
    """Pixels (N,) of runs that are outside and inside in turn.

    Args:
        counts: Lengths of runs.
        pixels: Number of pixels N.
        where: File and place, for messages.

    Raises:
        DataError: If a length is negative, or they do not add up to the number of pixels.
    """
    if (counts < 0).any() or (counts > pixels).any() or int(counts.sum()) != pixels:
        raise DataError(
            f"{where} has runs of {int(counts.sum())} pixels where its picture has {pixels}: it is of another size, "
            "or damaged. Export it again."
        )
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts)
