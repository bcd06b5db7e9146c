# SPDX-License-Identifier: Apache-2.0
"""Patches of stored features, and patches averaged to a coarse grid."""

import math

from einops import rearrange
from torch import Tensor

from avkit.encoders.base import VisualFeatures
from avkit.nn.pooling import shrink


def stored_visual(tokens: Tensor, *, class_token: bool) -> VisualFeatures:
    """Frame and patches of stored features.

    Where a step has one token more than a square grid has patches, as CLIP's 50, 197 or 257, the first is its class
    token and stands for the frame, as AV-Unified, section IV-B, says; else the mean of the patches does.

    Args:
        tokens: (C, T, P, D).
        class_token: False takes all tokens as patches.
    """
    side = math.isqrt(tokens.shape[2] - 1)
    if class_token and side > 1 and side * side == tokens.shape[2] - 1:
        return VisualFeatures(tokens[:, :, 0], tokens[:, :, 1:], (side, side))
    return VisualFeatures(tokens.mean(2), tokens, _grid_of(tokens.shape[2]))


def average_patches(patches: Tensor, grid: tuple[int, int], parts: int) -> tuple[Tensor, tuple[int, int]]:
    """Patches (B, T, P, D) averaged to a grid of at most `parts` on each side, and that grid."""
    maps = rearrange(patches, "b t (h w) d -> (b t) d h w", h=grid[0])
    maps = shrink(maps, (parts, parts))
    size = (maps.shape[-2], maps.shape[-1])
    return rearrange(maps, "(b t) d h w -> b t (h w) d", b=len(patches)), size


def _grid_of(patches: int) -> tuple[int, int]:
    """A square grid of patches, or one row where their number is no square."""
    side = math.isqrt(patches)
    return (side, side) if side * side == patches else (1, patches)
