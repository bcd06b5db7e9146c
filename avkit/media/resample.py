# SPDX-License-Identifier: Apache-2.0
"""More samples per second, for networks that were trained at a whole multiple of 16 kHz."""

import torch
import torch.nn.functional as F
from torch import Tensor

#: Samples on either side that a new one is made of.
_REACH = 16


def upsample(samples: Tensor, factor: int) -> Tensor:
    """Put samples between those of a sound by band-limited interpolation; beyond its ends there is silence.

    Args:
        samples: (N, n).
        factor: How many samples stand for each one.

    Returns:
        (N, n * factor); each sample of the input is one of the output.
    """
    if factor == 1:
        return samples
    taps = torch.arange(-_REACH, _REACH + 1, dtype=torch.float64)
    places = torch.arange(factor, dtype=torch.float64)[:, None] / factor
    distance = taps - places
    window = torch.cos(distance * (torch.pi / 2 / (_REACH + 1))).square()
    kernel = (torch.sinc(distance) * window).to(samples)
    phases = F.conv1d(F.pad(samples[:, None], (_REACH, _REACH)), kernel[:, None])
    return phases.transpose(1, 2).flatten(1)
