# SPDX-License-Identifier: Apache-2.0
"""Heat maps of sound sources: resizing, normalising and combining them as the official evaluations do.

Source:
    stoneMo/EZ-VSL at commit 95ff5bff3019, `validate`; hche11/Localizing-Visual-Sounds-the-Hard-Way (LVS) at commit
    8fe8cbbf810e, `test.py`.
"""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

#: Height and width in pixels at which the benchmarks are scored.
HEATMAP_SIZE = 224

#: Whose evaluation is followed; they resize and threshold maps differently.
HeatmapProtocol = Literal["ez_vsl", "lvs"]
Floats = NDArray[np.float32]


def resize_heatmaps(maps: Tensor, size: int = HEATMAP_SIZE, protocol: HeatmapProtocol = "ez_vsl") -> Tensor:
    """Resize maps bilinearly to (N, size, size) in float32.

    Args:
        maps: (N, h, w).
        size: Height and width of the result.
        protocol: `ez_vsl` aligns the corners, `lvs` the centres of pixels (as cv2 does).
    """
    maps = maps.float()
    if maps.shape[-2:] == (size, size):
        return maps
    return F.interpolate(maps[:, None], (size, size), mode="bilinear", align_corners=protocol == "ez_vsl")[:, 0]


def normalise_heatmaps(maps: Tensor) -> Tensor:
    """Scale each map (N, H, W) to [0, 1] by its minimum and maximum; a constant map stays as it is."""
    rows = heatmap_rows(maps)
    low = rows.min(1, keepdims=True)
    scale = rows.max(1, keepdims=True) - low
    constant = scale == 0
    low[constant] = 0
    scale[constant] = 1
    out = rows - low
    out /= scale
    return torch.from_numpy(out).view(maps.shape).to(maps.device)


def combine_heatmaps(audio_visual: Tensor, objects: Tensor, alpha: float = 0.4) -> Tensor:
    """EZ-VSL's combined map: `alpha` times the audio-visual map plus `1 - alpha` times the object map, each normalised.

    Args:
        audio_visual: (N, H, W), already resized.
        objects: (N, H, W), already resized.
        alpha: Weight in [0, 1].

    Raises:
        ValueError: For an alpha outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha}; give a weight from 0 to 1.")
    return normalise_heatmaps(alpha * normalise_heatmaps(audio_visual) + (1 - alpha) * normalise_heatmaps(objects))


def heatmap_rows(maps: Tensor) -> Floats:
    """Maps (N, H, W) as rows of float32 (N, H W): for selecting and counting, numpy on a CPU is the fastest."""
    rows: Floats = maps.detach().float().cpu().numpy().reshape(len(maps), -1)
    return rows
