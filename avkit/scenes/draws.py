# SPDX-License-Identifier: Apache-2.0
"""Random numbers that are the same on every machine and with every release of numpy."""

from collections.abc import Iterator

import numpy as np


class Draws:
    """Random numbers from a key.

    Only doubles of a named bit generator are used, as the other methods of numpy's Generator may change.

    Args:
        *key: Whole numbers from 0; each key gives a sequence of its own.
    """

    def __init__(self, *key: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
        self._values = self._blocks()

    def _blocks(self) -> Iterator[float]:
        while True:
            yield from self._generator.random(128).tolist()

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        return low + (high - low) * next(self._values)

    def integer(self, low: int, high: int) -> int:
        """A whole number in [low, high)."""
        return low + int((high - low) * next(self._values))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return next(self._values) < probability

    def sample(self, size: int, count: int) -> list[int]:
        """`count` different numbers below `size`, in random order."""
        pool = list(range(size))
        return [pool.pop(int(len(pool) * next(self._values))) for _ in range(count)]
