# SPDX-License-Identifier: Apache-2.0
"""The convolution of an upsampled map, without the upsampled map."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def convolve_upsampled(conv: nn.Conv2d, maps: Tensor, scale: int) -> Tensor:
    """What `conv` gives on maps that are upsampled bilinearly first (`align_corners=False`).

    Upsampling mixes cells and a convolution mixes channels, so that each of its nine taps can mix the channels of the
    small map first; then rows and columns are upsampled, moved by the tap's offset, and added up, as one matrix product
    each. That is cheaper the more channels the convolution removes: from 128 to 32 at four times the size it is a third
    of the operations, and nothing of the upsampled map with all its channels is kept for the gradient.

    Args:
        conv: 3 by 3, padded by 1, from C to D channels.
        maps: (N, C, h, w).
        scale: Cells per cell, on a side.

    Returns:
        (N, D, scale h, scale w).
    """
    if scale == 1:
        return conv(maps)
    number, _, height, width = maps.shape
    outputs = conv.out_channels
    taps = F.conv2d(maps, conv.weight.permute(0, 2, 3, 1).reshape(9 * outputs, -1, 1, 1))
    rows = taps.view(number, outputs, 3, 3, height, width).transpose(3, 4).flatten(4)  # (N, D, 3, h, 3 w)
    upsampled_rows = rows @ _upsampling_matrix(width, scale, taps)
    upsampled = _upsampling_matrix(height, scale, taps).T @ upsampled_rows.flatten(2, 3)
    if conv.bias is None:
        return upsampled
    return upsampled + conv.bias.to(upsampled.dtype)[:, None, None]


def _upsampling_matrix(size: int, scale: int, like: Tensor) -> Tensor:
    """Weight of each cell of a line in the upsampled line moved by each of three taps, (3 size, scale size)."""
    cells = torch.eye(size, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)[None]
    line = F.interpolate(cells, scale_factor=float(scale), mode="linear", align_corners=False)[0]
    line = F.pad(line, (1, 1)).to(like.dtype)  # beyond the end a convolution reads zeros
    return torch.cat([line[:, tap : tap + size * scale] for tap in range(3)])
