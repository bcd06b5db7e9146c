# SPDX-License-Identifier: Apache-2.0
"""Classes and boundaries of events at every point of a pyramid, as UnAV and CCNet read them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from avkit.nn.event_levels import EventLevel
from avkit.nn.masked_conv import MaskedConv, Stages


class EventDecoder(nn.Module):
    """Two towers, the same for all levels, and a gain per level for the boundaries.

    Args:
        width: Width of the features.
        classes: Number of classes K.
        levels: Number of levels.
        channels: Width of the towers.
        depth: Convolutions of a tower, the last included.
        aware: Boundaries for every class; else one pair for all.

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/modeling/multimodal_meta_archs.py`.
    """

    def __init__(
        self, width: int, classes: int, levels: int, channels: int = 512, depth: int = 3, aware: bool = True
    ) -> None:
        super().__init__()
        self.aware = aware
        self.what, self.where = Stages(width, channels, depth - 1), Stages(width, channels, depth - 1)
        self.classes = MaskedConv(channels, classes, start=-math.log(99))  # an event is rare: 1 in 100
        self.reach = MaskedConv(channels, 2 * classes if aware else 2, start=0.0)
        self.gain = nn.ParameterList(torch.ones(()) for _ in range(levels))

    def forward(self, levels: Sequence[Tensor], valid: Sequence[Tensor]) -> list[EventLevel]:
        """From levels (B, T_l, D) and bool (B, T_l), finest first; padded steps get logits 0.

        Points lie at multiples of the stride: the first, of all levels, in the middle of the first step.
        """
        found = []
        for number, (x, keep) in enumerate(zip(levels, valid, strict=True)):
            logits = self.classes(self.what(x, keep), keep)
            reach = (self.reach(self.where(x, keep), keep) * self.gain[number]).relu()
            if self.aware:
                reach = reach.unflatten(2, (-1, 2))
            found.append(EventLevel(logits, reach, keep, 2**number, first=0.5))
        return found
