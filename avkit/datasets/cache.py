# SPDX-License-Identifier: Apache-2.0
"""A cache of what was read from disk."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

from torch import Tensor

_Value = TypeVar("_Value")


class TensorCache:
    """Results of slow reads; the least recently used are dropped first.

    Args:
        max_bytes: Memory that the tensors of all results may take. A result that is larger is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable, read: Callable[[], _Value], tensors: Callable[[_Value], Iterable[Tensor]]) -> _Value:
        """A result, read once for as long as it is kept.

        Args:
            key: What the result depends on.
            read: Makes the result.
            tensors: The tensors of a result, to count its memory.
        """
        if key in self._entries:
            self._entries.move_to_end(key)
            kept: _Value = self._entries[key][0]
            return kept
        value = read()
        size = sum(tensor.untyped_storage().nbytes() for tensor in tensors(value))
        if size <= self.max_bytes:
            self._entries[key] = (value, size)
            self.bytes += size
            self._drop_oldest()
        return value

    def _drop_oldest(self) -> None:
        while self.bytes > self.max_bytes:
            _, (_, size) = self._entries.popitem(last=False)
            self.bytes -= size
