# SPDX-License-Identifier: Apache-2.0
"""Tokens of regions of a picture."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.nn.decoder_layer import mlp
from avkit.nn.pooling import shrink

#: Share of the picture at which a region is half as present as one that fills it.
_SMALL = 0.003
#: Scales colour and geometry to the magnitude of features.
_FACTS_SCALE = 4.0


class RegionTokens(nn.Module):
    """Mean features under a region, of all pyramid levels and of the patches, with its mean colour, place and size.

    Args:
        width: Width D of the tokens.
        pyramid_widths: Widths of the pyramid's maps, finest first.
    """

    def __init__(self, width: int, pyramid_widths: Sequence[int]) -> None:
        super().__init__()
        self.out = nn.Linear(sum(pyramid_widths) + width, width)
        self.facts = mlp(8, width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tokens, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Pool features under regions.

        Args:
            tokens: Tokens of the pictures.
            regions: Soft regions, (B, T, R, h, w) in [0, 1]; all but the first are those of the classes, in order.

        Returns:
            A token per region, (B, T, R, D), near zero where the region is empty, with the class name's feature added
            where it is a class's; and how present each region is, (B, T, R) in [0, 1].
        """
        patches = tokens.patches.flatten(0, 1).transpose(1, 2).unflatten(2, tokens.grid)
        maps = [level.flatten(0, 1) for level in tokens.pyramid]
        maps.append(patches)
        flat = shrink(regions.flatten(0, 1), maps[max(0, len(maps) - 2)].shape[-2:])
        area = flat.mean((2, 3))
        features = torch.cat([_mean_under(flat, level) for level in maps], dim=-1)
        facts = torch.cat([self._colour(tokens, flat), _geometry(flat, area)], dim=-1)
        x = self.norm(self.out(features) + self.facts(_FACTS_SCALE * facts))
        if tokens.names is not None and x.shape[1] > 1:
            x = x + F.pad(tokens.names, (0, 0, 1, 0))
        present = area / (area + _SMALL)
        x = x * present[..., None]
        return x.unflatten(0, regions.shape[:2]), present.unflatten(0, regions.shape[:2])

    def _colour(self, tokens: Tokens, regions: Tensor) -> Tensor:
        """Mean colour in [-1, 1] under regions (N, R, h, w), (N, R, 3); zeros where there is no picture."""
        if tokens.picture is None:
            return regions.new_zeros((*regions.shape[:2], 3))
        return _mean_under(regions, tokens.picture.flatten(0, 1).to(regions.dtype) / 127.5 - 1)


def _mean_under(regions: Tensor, level: Tensor) -> Tensor:
    """Mean of a map (N, C, h, w) under regions (N, R, H, W), (N, R, C), on the coarser of the two grids."""
    level = shrink(level, regions.shape[-2:])
    weights = shrink(regions, level.shape[-2:]).flatten(2)
    return weights @ level.flatten(2).transpose(1, 2) / (weights.sum(-1, keepdim=True) + 1e-2)


def _geometry(regions: Tensor, area: Tensor) -> Tensor:
    """Square root of the area, then centre and spread in x and in y, as shares of the picture, (N, R, 5)."""
    side = (area[..., None] + 1e-6).sqrt()
    horizontal = _centre_and_spread(regions.mean(2), area)
    vertical = _centre_and_spread(regions.mean(3), area)
    return torch.cat([side, horizontal, vertical], dim=-1)


def _centre_and_spread(profile: Tensor, area: Tensor) -> Tensor:
    """Mean and standard deviation of a profile (N, R, size) along its last axis, (N, R, 2); 0 is the middle."""
    size = profile.shape[-1]
    place = (torch.arange(size, device=profile.device) + 0.5) / size - 0.5
    total = area[..., None] + 1e-4
    mean = (profile * place).mean(-1, keepdim=True) / total
    square = (profile * place**2).mean(-1, keepdim=True) / total
    return torch.cat([mean, (square - mean * mean).clamp(min=1e-6).sqrt()], dim=-1)
