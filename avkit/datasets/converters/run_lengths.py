# SPDX-License-Identifier: Apache-2.0
"""Run-length codes of masks: lengths of runs of pixels outside and inside of an object, in turn."""

from collections.abc import Sequence

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


def decode_packed(data: Sequence[int], values: int, where: str) -> NDArray[np.uint8]:
    """Bytes (N,) of Label Studio's run-length code, a stream of bits.

    A head says how many values there are (32 bits), how many bits each has (5) and four widths (4 bits each). Then come
    runs: one bit that says whether one value is repeated, two bits that choose a width, the length less one in that
    width, and the value, or as many values as the run is long.

    Args:
        data: Bytes of the stream, 0 to 255.
        values: Number N of values that it must hold.
        where: File and place, for messages.

    Raises:
        DataError: If it is no such stream, or holds another number of values.
    """
    bits = np.unpackbits(np.asarray(data, np.uint8))
    text = (bits + ord("0")).tobytes()
    broken = DataError(f"{where}: the run-length code is damaged or cut off. Export it again.")
    if len(text) < 53:
        raise broken
    count = int(text[:32], 2)
    word = int(text[32:37], 2) + 1
    widths = [int(text[37 + 4 * k : 41 + 4 * k], 2) + 1 for k in range(4)]
    if count != values or word != 8:
        raise DataError(
            f"{where}: the run-length code holds {count} values of {word} bits where the picture needs {values} of 8 "
            "(red, green, blue and alpha of each pixel). Export it again."
        )
    decoded = np.empty(count, np.uint8)
    filled = 0
    place = 53
    while filled < count:
        width = widths[int(text[place + 1 : place + 3] or b"0", 2)]
        after = place + 3 + width
        if len(text) < after + word:
            raise broken
        length = int(text[place + 3 : after], 2) + 1
        words = 1 if text[place : place + 1] == b"1" else length
        place = after + words * word
        if filled + length > count or len(bits) < place:
            raise broken
        decoded[filled : filled + length] = np.packbits(bits[after:place])
        filled += length
    return decoded


def encode_runs(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Lengths of runs of a mask's pixels along its rows, outside and inside in turn."""
    pixels = mask.reshape(-1)
    edges = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    counts = np.diff(np.concatenate([[0], edges, [len(pixels)]])).astype(np.int64)
    return np.concatenate([[0], counts]) if pixels[0] else counts


def encode_text(counts: NDArray[np.int64]) -> str:
    """COCO's compressed text of lengths of runs, see `decode_text`."""
    values = counts.astype(np.int64).copy()
    values[3:] = counts[3:] - counts[1:-2]
    letters = []
    for value in values.tolist():
        is_last = False
        while not is_last:
            bits = value & 31
            value >>= 5
            is_last = value == (-1 if bits & 16 else 0)
            letters.append(chr(48 + (bits if is_last else bits | 32)))
    return "".join(letters)
