# SPDX-License-Identifier: Apache-2.0
"""Masks from a feature pyramid, fused from coarse to fine: the decoder of AVSBench's baseline."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class MultiDilatedConv(nn.Module):
    """The sum of 3x3 convolutions with several dilations.

    Args:
        inputs: Channels of the map.
        outputs: Channels of the result.
        dilations: Of the convolutions.
    """

    def __init__(self, inputs: int, outputs: int, dilations: Sequence[int] = (3, 6, 12, 18)) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(inputs, outputs, 3, padding=d, dilation=d) for d in dilations)
        for conv in self.convs.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.normal_(conv.weight, 0, 0.01)

    def forward(self, maps: Tensor) -> Tensor:
        """From (N, C, h, w) to (N, D, h, w)."""
        out: Tensor = self.convs[0](maps)
        for conv in self.convs[1:]:
            out = out + conv(maps)
        return out


class ResidualUnit(nn.Module):
    """Two convolutions of the rectified map, and a skip.

    The authors rectify in place, so what is skipped to the end is the rectified map; `plain` skips the map itself, as
    the block is usually meant.

    Args:
        width: Channels.
        plain: See above.
    """

    def __init__(self, width: int, plain: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.plain = plain

    def forward(self, maps: Tensor) -> Tensor:
        """From (N, D, h, w) to the same."""
        x = maps.relu()
        residual: Tensor = self.second(self.first(x).relu_())
        return residual + (maps if self.plain else x)


class FusionDecoder(nn.Module):
    """From the coarsest map to the finest: each is added to what came before, which then doubles in size.

    Args:
        width: Channels D of the maps.
        levels: Maps.
        outputs: Masks K.
        scale: Cells of the mask per cell of the finest map, on a side: 1, 2, or 4.
        plain: See `ResidualUnit`.

    Raises:
        ValueError: If the scale is none of these.

    Source:
        OpenNLPLab/AVSBench at commit f7414aff6aed, `PVT_AVSModel.py`.
    """

    def __init__(
        self, width: int = 256, levels: int = 4, outputs: int = 1, scale: int = 4, plain: bool = False
    ) -> None:
        super().__init__()
        if scale not in (1, 2, 4):
            raise ValueError(f"scale is {scale}; a mask has 1, 2 or 4 cells per cell of the finest map.")
        self.scale = scale
        self.enter = nn.ModuleList(ResidualUnit(width, plain) for _ in range(levels - 1))
        self.units = nn.ModuleList(ResidualUnit(width, plain) for _ in range(levels))
        self.out = nn.ModuleList(
            [
                nn.Conv2d(width, width // 2, 3, padding=1),
                nn.Conv2d(width // 2, width // 8, 3, padding=1),
                nn.Conv2d(width // 8, outputs, 1),
            ]
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (N, D, h, w), finest first, each half as large as the one before, to masks (N, K, scale h, scale w)."""
        x: Tensor | None = None
        for level in reversed(range(len(maps))):
            if x is None:
                x = maps[level]
            else:
                if x.shape[-2:] != maps[level].shape[-2:]:  # odd sizes, where halving rounds up
                    x = F.interpolate(x, maps[level].shape[-2:], mode="bilinear", align_corners=True)
                x = x + self.enter[level](maps[level])
            x = self.units[level](x)
            if level or self.scale > 1:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        assert x is not None
        first, second, last = self.out
        x = first(x)
        if self.scale > 2:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        masks: Tensor = last(second(x).relu_())
        return masks
