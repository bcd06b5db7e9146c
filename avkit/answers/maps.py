# SPDX-License-Identifier: Apache-2.0
"""Answers with a map per step: masks of what sounds, masks of classes, heat maps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from avkit.answers.base import Answer, RowsByName, Scope

M = TypeVar("M", bound="StepMaps")


@dataclass(eq=False)
class StepMaps(Answer):
    """A map per step.

    Attributes:
        maps: (T, H, W); a tensor on the CPU is taken as an array.
    """

    maps: NDArray[Any]

    def __post_init__(self) -> None:
        self.maps = np.asarray(self.maps)

    @classmethod
    def from_values(cls: type[M], values: RowsByName, row: int, scope: Scope) -> M | None:
        """The maps of one row."""
        return cls(scope.task, _maps_of(values[cls.prediction_values[0]], row, scope))

    @classmethod
    def from_targets(cls: type[M], targets: RowsByName, row: int, scope: Scope) -> M | None:
        """The true maps of one sample."""
        return cls(scope.task, _maps_of(targets[cls.target_fields[0]], row, scope))

    @classmethod
    def join(cls: type[M], parts: Sequence[M]) -> M:
        """The maps of all windows."""
        return cls(parts[0].task, np.concatenate([part.maps for part in parts]))

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return len(self.maps)


@dataclass(eq=False)
class Mask(StepMaps):
    """The pixels of what sounds, per step.

    `maps` holds the probability that a pixel shows something that sounds, float (T, H, W); of the true mask 0 or 1,
    uint8.
    """

    kind: ClassVar[str] = "mask"
    prediction_values: ClassVar[tuple[str, ...]] = ("mask",)
    target_fields: ClassVar[tuple[str, ...]] = ("mask", "mask_known")
    exclusive: ClassVar[bool] = True

    @classmethod
    def from_targets(cls: type[M], targets: RowsByName, row: int, scope: Scope) -> M | None:
        """The true masks; None if no step has an annotated one."""
        if not bool(targets["mask_known"][row].any()):
            return None
        return cls(scope.task, _maps_of(targets["mask"], row, scope))

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of the masks."""
        return self.maps.shape[1], self.maps.shape[2]


@dataclass(eq=False)
class ClassMask(StepMaps):
    """The class of every pixel that sounds, per step.

    `maps` holds integers, (T, H, W): 0 for background, k + 1 for `names[k]`.

    Attributes:
        names: Names of classes in index order, without background.

    Raises:
        ValueError: If a map holds a class without a name.
    """

    kind: ClassVar[str] = "class_mask"
    prediction_values: ClassVar[tuple[str, ...]] = ("class_mask",)
    target_fields: ClassVar[tuple[str, ...]] = ("class_mask",)
    exclusive: ClassVar[bool] = True

    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        highest = int(self.maps.max(initial=0))
        if highest > len(self.names):
            raise ValueError(f"ClassMask: maps hold class {highest}, but names has {len(self.names)} entries.")

    @classmethod
    def from_values(cls, values: RowsByName, row: int, scope: Scope) -> "ClassMask":
        """The classes of one row."""
        maps = _maps_of(values["class_mask"], row, scope).astype(np.int16)  # a quarter of the memory, for long videos
        return cls(scope.task, maps, list(scope.classes))

    @classmethod
    def from_targets(cls, targets: RowsByName, row: int, scope: Scope) -> "ClassMask":
        """The true classes of one sample."""
        return cls(scope.task, _maps_of(targets["class_mask"], row, scope), list(scope.classes))

    @classmethod
    def join(cls, parts: Sequence["ClassMask"]) -> "ClassMask":
        """The classes of all windows."""
        return cls(parts[0].task, np.concatenate([part.maps for part in parts]), parts[0].names)

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of the masks."""
        return self.maps.shape[1], self.maps.shape[2]


@dataclass(eq=False)
class Heat(StepMaps):
    """Where the sound comes from, per step.

    `maps` holds floats, (T, h, w), of any size and range: the higher, the likelier the sound comes from there.
    """

    kind: ClassVar[str] = "heat"
    prediction_values: ClassVar[tuple[str, ...]] = ("heat",)
    target_fields: ClassVar[tuple[str, ...]] = ("source",)
    exclusive: ClassVar[bool] = True


def _maps_of(values: Tensor, row: int, scope: Scope) -> NDArray[Any]:
    """The steps of a row that are no padding, as an array."""
    return values[row][: scope.grid.steps].detach().cpu().numpy()
