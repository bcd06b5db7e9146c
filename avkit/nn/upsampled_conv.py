# SPDX-License-Identifier: Apache-2.0
"""A convolution of an enlarged map, without the enlarged map."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def convolve_enlarged(conv: nn.Conv2d, maps: Tensor, scale: int) -> Tensor:
    """What `conv` gives on maps that are enlarged bilinearly first (`align_corners=False`).

    Enlarging mixes cells and a convolution channels, so each of its nine taps mixes channels of the small map first;
    then rows and columns are enlarged, moved by the tap's place, and added up, as one matrix product each. That is
    cheaper the more a map loses channels: from 128 to 32 at four times the size it is a third of the operations, and
    nothing of the enlarged map with all its channels has to be kept for the gradient.

    Args:
        conv: 3 by 3, padded by 1, from C to D channels.
        maps: (N, C, h, w).
        scale: Cells per cell, on a side.

    Returns:
        (N, D, scale h, scale w).
    """
    if scale == 1:
        return conv(maps)
    (number, _, height, width), outputs = maps.shape, conv.out_channels
    taps = F.conv2d(maps, conv.weight.permute(0, 2, 3, 1).reshape(9 * outputs, -1, 1, 1))
    rows = taps.view(number, outputs, 3, 3, height, width).transpose(3, 4).flatten(4)  # (N, D, 3, h, 3 w)
    wide = rows @ _enlarge(width, scale, taps)
    found = _enlarge(height, scale, taps).T @ wide.flatten(2, 3)
    return found if conv.bias is None else found + conv.bias.to(found.dtype)[:, None, None]


def _enlarge(size: int, scale: int, like: Tensor) -> Tensor:
    """What each cell of a line is to each of the enlarged line's neighbours, cells before it first, (3 size, L)."""
    cells = torch.eye(size, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)[None]
    line = F.interpolate(cells, scale_factor=float(scale), mode="linear", align_corners=False)[0]
    line = F.pad(line, (1, 1)).to(like.dtype)  # beyond the end a convolution sees zeros
    return torch.cat([line[:, tap : tap + size * scale] for tap in range(3)])
