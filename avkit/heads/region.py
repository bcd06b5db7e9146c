# SPDX-License-Identifier: Apache-2.0
"""A token for each region of a picture."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.nn.decoder_layer import mlp
from avkit.nn.pooling import shrink

#: Share of the picture at which a region is half as present as one that fills it.
_SMALL = 0.003
#: Brings colour and geometry to the size of features.
_FACTS = 4.0


class RegionTokens(nn.Module):
    """What is under a region, on all levels of the pyramid and in the patches, its mean colour, place and size.

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
        """Tokens (B, T, R, D) of soft regions (B, T, R, h, w) in [0, 1], and how present each is, (B, T, R) in [0, 1].

        All regions but the first are those of the classes, and carry the class's name; absent ones are near zero.
        """
        patches = tokens.patches.flatten(0, 1).transpose(1, 2).unflatten(2, tokens.grid)
        maps = [*(p.flatten(0, 1) for p in tokens.pyramid), patches]
        flat = shrink(regions.flatten(0, 1), maps[max(0, len(maps) - 2)].shape[-2:])
        area = flat.mean((2, 3))
        found = [_under(flat, m) for m in maps]
        facts = torch.cat([self._colour(tokens, flat), _geometry(flat, area)], dim=-1)
        x = self.norm(self.out(torch.cat(found, dim=-1)) + self.facts(_FACTS * facts))
        if tokens.names is not None and x.shape[1] > 1:
            x = x + F.pad(tokens.names, (0, 0, 1, 0))
        present = area / (area + _SMALL)
        x = x * present[..., None]
        return x.unflatten(0, regions.shape[:2]), present.unflatten(0, regions.shape[:2])

    def _colour(self, tokens: Tokens, regions: Tensor) -> Tensor:
        """Mean colour in [-1, 1] under regions (N, R, h, w), (N, R, 3); zeros where there is no picture."""
        if tokens.picture is None:
            return regions.new_zeros((*regions.shape[:2], 3))
        return _under(regions, tokens.picture.flatten(0, 1).to(regions.dtype) / 127.5 - 1)


def _under(regions: Tensor, level: Tensor) -> Tensor:
    """Mean of a map (N, C, h, w) under regions (N, R, H, W), (N, R, C), on the coarser of the two grids."""
    level = shrink(level, regions.shape[-2:])
    weights = shrink(regions, level.shape[-2:]).flatten(2)
    return weights @ level.flatten(2).transpose(1, 2) / (weights.sum(-1, keepdim=True) + 1e-2)


def _geometry(regions: Tensor, area: Tensor) -> Tensor:
    """Square root of the area, centre and spread in both directions, in picture sizes, (N, R, 5)."""
    sums = area[..., None] + 1e-4

    def moments(profile: Tensor) -> list[Tensor]:
        place = (torch.arange(profile.shape[-1], device=profile.device) + 0.5) / profile.shape[-1] - 0.5
        first, second = ((profile * place**n).mean(-1, keepdim=True) / sums for n in (1, 2))
        return [first, (second - first * first).clamp(min=1e-6).sqrt()]

    return torch.cat([(area[..., None] + 1e-6).sqrt(), *moments(regions.mean(2)), *moments(regions.mean(3))], dim=-1)
