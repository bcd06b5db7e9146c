# SPDX-License-Identifier: Apache-2.0
"""Probabilities of masks reduced to what the official scores read of them: a level and a mask for each pixel."""

import torch
from torch import Tensor

from avkit.metrics.mask_scores import THRESHOLDS, threshold_index

#: Level of the highest threshold, 1.
HIGHEST = len(THRESHOLDS) - 1
#: A probability of each level that is no part of the mask, and one that is; equal where only one of the two exists.
_MIDDLES = torch.cat([(THRESHOLDS[:-1] + THRESHOLDS[1:]) / 2, THRESHOLDS[-1:]])
_OUTSIDE = torch.where(THRESHOLDS <= 0.5, THRESHOLDS, _MIDDLES)
_INSIDE = torch.where(_MIDDLES > 0.5, _MIDDLES, THRESHOLDS)


def mask_levels(probability: Tensor) -> Tensor:
    """The number of the highest official threshold that each probability reaches, uint8 of the same shape."""
    return threshold_index(probability.float().contiguous()).to(torch.uint8)


def level_probabilities(levels: Tensor, mask: Tensor) -> Tensor:
    """Probabilities, float32, with given levels and a given mask: IoU and F are those of the original ones.

    Args:
        levels: As of `mask_levels`.
        mask: bool of the same shape, where the probability is above 0.5.

    Raises:
        ValueError: If a level is above the highest, or no probability has both.
    """
    if levels.numel() and int(levels.max()) > HIGHEST:
        raise ValueError(f"levels go up to {int(levels.max())}; the highest is {HIGHEST}")
    numbers = levels.long()
    probability = torch.where(mask, _INSIDE[numbers], _OUTSIDE[numbers])
    wrong = (probability > 0.5) != mask
    if bool(wrong.any()):
        level = int(levels[wrong][0])
        raise ValueError(
            f"{int(wrong.sum())} pixels contradict the mask, such as one of level {level}, which is a probability of "
            f"{float(THRESHOLDS[level]):.3g}; write masks and levels of the same probabilities"
        )
    return probability
