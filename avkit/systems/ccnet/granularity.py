# SPDX-License-Identifier: Apache-2.0
"""Fine and coarse steps that help each other: CCNet's multi-temporal granularity collaboration (MTGC)."""

from collections.abc import Sequence
from itertools import pairwise

from einops import rearrange
from torch import Tensor, nn

from avkit.nn.event_dependency import EventDependency
from avkit.nn.masked_conv import MaskedConv, PyramidBlock, linear, pool

#: Orders in which the two collaborations come.
ORDERS = ("c2f_f2c", "f2c_c2f")


class CoarseToFine(nn.Module):
    """Each level asks the coarser one, stretched over time by a learnt map; one block serves all levels (C2F).

    Args:
        width: Width of the features.
        lengths: Steps of each level, finest first; the maps are tied to them.
        drop_path: See `PyramidBlock`.
    """

    def __init__(self, width: int, lengths: Sequence[int], drop_path: float) -> None:
        super().__init__()
        self.stretch = nn.ModuleList(linear(coarse, fine) for fine, coarse in pairwise(lengths))
        self.block = PyramidBlock(width, 4, drop_path=drop_path)

    def forward(self, fine: Tensor, coarse: Tensor, valid: Tensor, level: int) -> Tensor:
        """From level `level` (B, T, D) and the next coarser (B, T / 2, D) to (B, T, D)."""
        asked = self.stretch[level](coarse.transpose(1, 2)).relu().transpose(1, 2)
        found: Tensor = self.block(fine, asked, valid)
        return found


class FineToCoarse(nn.Module):
    """Each level takes what the finer one, thinned to its steps, has found; a block per level (F2C).

    Args:
        width: Width of the features.
        levels: Number of levels.
        drop_path: See `PyramidBlock`.
    """

    def __init__(self, width: int, levels: int, drop_path: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(PyramidBlock(width, 1, drop_path=drop_path) for _ in range(levels - 1))

    def forward(self, levels: Sequence[Tensor], valid: Sequence[Tensor]) -> list[Tensor]:
        """From levels (B, T_l, D) and bool (B, T_l), finest first, to the same."""
        out = [levels[0]]
        for block, level, keep in zip(self.blocks, levels[1:], valid[1:], strict=True):
            out.append(level + block(pool(out[-1]), level, keep))
        return out


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
        length: Steps of the finest level; a multiple of 2 to the power of the number of levels but one.
        levels: Number of levels.
        inner: Width H of a class's features.
        coarse_to_fine: Use C2F.
        fine_to_coarse: Use F2C.
        order: `c2f_f2c`, or `f2c_c2f`, where F2C comes before all else and C2F after it.
        in_time: Use `ClassesInTime`.
        drop_path: See `PyramidBlock`.
        mixed: See `EventDependency`.

    Source:
        zzhhfut/CCNet-AAAI2025 at commit d148d074d647, `libs/modeling/MTGC_block.py`.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        length: int,
        levels: int = 6,
        inner: int = 128,
        coarse_to_fine: bool = True,
        fine_to_coarse: bool = True,
        order: str = "c2f_f2c",
        in_time: bool = True,
        drop_path: float = 0.1,
        mixed: bool = True,
    ) -> None:
        super().__init__()
        lengths = [length >> i for i in range(levels)]
        self.order = order
        self.coarse_to_fine = CoarseToFine(width, lengths, drop_path) if coarse_to_fine else None
        self.fine_to_coarse = FineToCoarse(width, levels, drop_path) if fine_to_coarse else None
        self.in_time = ClassesInTime(width, classes, inner, lengths, drop_path) if in_time else None
        self.dependency = EventDependency(width, classes, inner, drop_path, mixed)

    def forward(self, levels: Sequence[Tensor], valid: Sequence[Tensor]) -> list[Tensor]:
        """From levels (B, T_l, D) and bool (B, T_l), finest first, to the same."""
        first = self.order == "f2c_c2f"
        if first and self.fine_to_coarse is not None:
            levels = self.fine_to_coarse(levels, valid)
        related = [self._relate(levels, valid, i) for i in range(len(levels))]
        if not first and self.fine_to_coarse is not None:
            return list(self.fine_to_coarse(related, valid))
        return related

    def _relate(self, levels: Sequence[Tensor], valid: Sequence[Tensor], i: int) -> Tensor:
        x = levels[i]
        if self.coarse_to_fine is not None and i + 1 < len(levels):
            x = self.coarse_to_fine(x, levels[i + 1], valid[i], i)
        in_time = self.in_time
        more = None if in_time is None else lambda part: in_time(x[part], valid[i][part], i)
        found: Tensor = self.dependency(x, valid[i], more)
        return found
