# SPDX-License-Identifier: Apache-2.0
"""The parts of pictures that masks cover."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cut_out(pictures: Tensor, masks: Tensor, hard: bool = False, side: int | None = None) -> Tensor:
    """The covered parts of pictures, the rest black.

    Args:
        pictures: uint8, or float in [0, 1], (N, 3, H, W).
        masks: In [0, 1], (N, h, w); resized to the pictures' size if it differs.
        hard: Cut masks at 0.5; otherwise pictures are multiplied with them, which passes a gradient.
        side: Pixels of the square that the result is resized to; None keeps the pictures' size.

    Returns:
        Float in [0, 1], (N, 3, H, W) or (N, 3, side, side).
    """
    values = pictures.to(masks.dtype) / 255 if pictures.dtype == torch.uint8 else pictures
    cover = masks[:, None]
    if cover.shape[-2:] != values.shape[-2:]:
        cover = F.interpolate(cover, values.shape[-2:], mode="bilinear", align_corners=False)
    if hard:
        cover = (cover > 0.5).to(values.dtype)
    region = values * cover
    if side is not None and region.shape[-2:] != (side, side):
        full = region.float()  # half precision has no smoothed resizing on a CPU
        full = F.interpolate(full, (side, side), mode="bilinear", align_corners=False, antialias=True)
        region = full.to(region.dtype)
    return region
