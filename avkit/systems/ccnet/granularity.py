# SPDX-License-Identifier: Apache-2.0
"""Collaboration of fine and coarse temporal levels: CCNet's multi-temporal granularity collaboration (MTGC)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from einops import rearrange
from torch import Tensor, nn

from avkit.errors import unknown_name
from avkit.nn.event_dependency import EventDependency
from avkit.nn.event_options import EventPyramidOptions
from avkit.nn.masked_conv import MaskedConv, PyramidBlock, linear, max_pool

#: Orders of the two collaborations.
ORDERS = ("c2f_f2c", "f2c_c2f")


@dataclass
class GranularityOptions(EventPyramidOptions):
    """Options of the collaboration of levels, and of what decodes them.

    Attributes:
        length: Steps that all videos are padded to, and none may exceed: weights of `c2f` and `in_time` are tied to it.
        c2f: Let coarse levels help fine ones (Table 2).
        f2c: Let fine levels help coarse ones (Table 2).
        order: `c2f_f2c` or `f2c_c2f` (Table 4).
        in_time: Make class features along time too, which the paper does not mention.
        c2f_residual: What attention of coarse to fine is added to, see `avkit.nn.masked_conv.RESIDUALS`: `scaled` as
            the code runs, `none` as Eq. 7 says.
        f2c_residual: The same of fine to coarse: `scaled` as the code runs, which also adds the pooled fine level,
            `none` as Eq. 8 says.
        attention_scale: What scores of attention are divided by: the root of the width of a `head` as the code runs,
            or of the whole `width` as Eq. 2 says.
    """

    length: int = 256
    c2f: bool = True
    f2c: bool = True
    order: str = "c2f_f2c"
    in_time: bool = True
    c2f_residual: str = "scaled"
    f2c_residual: str = "scaled"
    attention_scale: str = "head"

    @property
    def tied(self) -> bool:
        """Whether weights are tied to the length."""
        return self.c2f or self.in_time


class CoarseToFine(nn.Module):
    """Each level attends to the coarser one, stretched over time by a learned map; all levels share a block (C2F).

    Args:
        width: Width of the features.
        lengths: Steps of each level, finest first; the maps are tied to them.
        options: `drop_path`, `c2f_residual` and `attention_scale` are read.
    """

    def __init__(self, width: int, lengths: Sequence[int], options: GranularityOptions) -> None:
        super().__init__()
        self.stretch = nn.ModuleList(linear(coarse, fine) for fine, coarse in pairwise(lengths))
        self.block = PyramidBlock(
            width, 4, drop_path=options.drop_path, residual=options.c2f_residual, scale=options.attention_scale
        )

    def forward(self, fine: Tensor, coarse: Tensor, valid: Tensor, level: int) -> Tensor:
        """From level `level` (B, T, D) and the next coarser (B, T / 2, D) to (B, T, D)."""
        stretched = self.stretch[level](coarse.transpose(1, 2)).relu().transpose(1, 2)
        mixed: Tensor = self.block(fine, stretched, valid)
        return mixed


class FineToCoarse(nn.Module):
    """Each level attends to the finer one, pooled to its steps; a block per level (F2C).

    Args:
        width: Width of the features.
        options: `levels`, `drop_path` and `f2c_residual` are read; with one head both scales are the same.
    """

    def __init__(self, width: int, options: GranularityOptions) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for _ in range(options.levels - 1):
            self.blocks.append(PyramidBlock(width, 1, drop_path=options.drop_path, residual=options.f2c_residual))

    def forward(self, levels: Sequence[Tensor], valid: Sequence[Tensor]) -> list[Tensor]:
        """From levels (B, T_l, D) and bool (B, T_l), finest first, to the same."""
        mixed = [levels[0]]
        for block, level, keep in zip(self.blocks, levels[1:], valid[1:], strict=True):
            mixed.append(level + block(max_pool(mixed[-1]), level, keep))
        return mixed


class ClassesInTime(nn.Module):
    """Features of every class made along time: what the code adds to the paper's class features.

    Channels are squeezed, attend to one another with the level's steps as their width, and a linear layer makes K
    features of each step. The official reshape interleaves classes and channels; so does this.

    Args:
        width: Width of the features.
        classes: Number of classes K.
        inner: Width H of a class's features.
        lengths: Steps of each level; the weights are tied to them.
        drop_path: See `PyramidBlock`.
    """

    def __init__(self, width: int, classes: int, inner: int, lengths: Sequence[int], drop_path: float) -> None:
        super().__init__()
        self.classes = classes
        self.press = MaskedConv(width, inner)
        self.channels = nn.ModuleList(PyramidBlock(n, 1, inner=inner, drop_path=drop_path) for n in lengths)
        self.spread = nn.ModuleList(linear(n, n * classes) for n in lengths)

    def forward(self, x: Tensor, valid: Tensor, level: int) -> Tensor:
        """From (B, T, D) of a level to (B, T, K, H)."""
        y = self.press(x, valid).relu().transpose(1, 2)
        y = self.spread[level](self.channels[level](y, y, None)).relu()
        return rearrange(y.reshape(len(y), self.classes, -1, x.shape[1]), "b k h t -> b t k h")


class GranularityCollaboration(nn.Module):
    """MTGC: coarse levels help fine ones, classes are related to each other, and fine levels help coarse ones.

    Args:
        width: Width of the features.
        classes: Number of classes K.
        options: Length, levels, width of a class's features and switches.

    Raises:
        ValueError: If the order is unknown, or the length does not divide evenly.

    Source:
        zzhhfut/CCNet-AAAI2025 at commit d148d074d647, `libs/modeling/MTGC_block.py`.
    """

    def __init__(self, width: int, classes: int, options: GranularityOptions) -> None:
        super().__init__()
        unit = 2 ** (options.levels - 1)
        if options.order not in ORDERS:
            raise unknown_name("order", options.order, ORDERS)
        if options.length % unit:
            raise ValueError(f"length is {options.length}; {options.levels} levels need a multiple of {unit}.")
        lengths = [options.length >> level for level in range(options.levels)]
        self.order = options.order
        self.coarse_to_fine = CoarseToFine(width, lengths, options) if options.c2f else None
        self.fine_to_coarse = FineToCoarse(width, options) if options.f2c else None
        self.in_time: ClassesInTime | None = None
        if options.in_time:
            self.in_time = ClassesInTime(width, classes, options.inner, lengths, options.drop_path)
        self.dependency = EventDependency(width, classes, options)

    def forward(self, levels: Sequence[Tensor], valid: Sequence[Tensor]) -> list[Tensor]:
        """From levels (B, T_l, D) and bool (B, T_l), finest first, to the same."""
        fine_first = self.order == "f2c_c2f"
        if fine_first and self.fine_to_coarse is not None:
            levels = self.fine_to_coarse(levels, valid)
        related = [self._relate(levels, valid, number) for number in range(len(levels))]
        if not fine_first and self.fine_to_coarse is not None:
            return list(self.fine_to_coarse(related, valid))
        return related

    def _relate(self, levels: Sequence[Tensor], valid: Sequence[Tensor], number: int) -> Tensor:
        """One level with help from the coarser one and its classes related."""
        x = levels[number]
        if self.coarse_to_fine is not None and number + 1 < len(levels):
            x = self.coarse_to_fine(x, levels[number + 1], valid[number], number)
        related: Tensor = self.dependency(x, valid[number], self._class_features(x, valid[number], number))
        return related

    def _class_features(self, x: Tensor, valid: Tensor, number: int) -> Callable[[slice], Tensor] | None:
        """What makes further class features for some of the videos."""
        in_time = self.in_time
        if in_time is None:
            return None

        def features(part: slice) -> Tensor:
            made: Tensor = in_time(x[part], valid[part], number)
            return made

        return features
