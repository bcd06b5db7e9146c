# SPDX-License-Identifier: Apache-2.0
"""Whatever a task predicts, for tasks that do not say which kinds of answers they give."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from avkit.answers.base import Answer, RowsByName, Scope
from avkit.answers.encoding import Record, describe_array

#: Numbers of a tensor above which `Values` keeps its type and shape alone.
_MAX_NUMBERS = 64


@dataclass(eq=False)
class Values(Answer):
    """All that a prediction holds, for tasks that do not say which kinds of answers they give.

    Attributes:
        windows: For each window the values by name: numbers, texts, lists of them; of large tensors type and shape.
    """

    kind: ClassVar[str] = "values"

    windows: list[Record] = field(default_factory=list)

    @classmethod
    def from_values(cls, values: RowsByName, row: int, scope: Scope) -> "Values":
        """The values of one row."""
        return cls(scope.task, [{name: _readable(value[row]) for name, value in values.items()}])

    @classmethod
    def join(cls, parts: Sequence["Values"]) -> "Values":
        """The values of all windows, one after the other."""
        windows: list[Record] = []
        for part in parts:
            windows += part.windows
        return cls(parts[0].task, windows)


def _readable(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value if isinstance(value, str | int | float | list) else str(value)
    if value.numel() > _MAX_NUMBERS:
        return describe_array(str(value.dtype).removeprefix("torch."), list(value.shape))
    return value.detach().cpu().tolist()
