# SPDX-License-Identifier: Apache-2.0
"""Average pooling of maps to a size."""

import torch.nn.functional as F
from torch import Tensor


def shrink(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Mean over cells, (N, C, H, W) to (N, C, *size); maps that are not larger stay as they are."""
    height, width = maps.shape[-2:]
    rows, columns = min(height, size[0]), min(width, size[1])
    if height % rows or width % columns:
        return F.adaptive_avg_pool2d(maps, (rows, columns))
    if (height, width) == (rows, columns):
        return maps
    return F.avg_pool2d(maps, (height // rows, width // columns))
