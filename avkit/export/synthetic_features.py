# SPDX-License-Identifier: Apache-2.0
"""Features that stand in for those of pretrained networks: fixed random projections, of the shapes that loaders expect.

They tell scenes apart, so that training from features can be tried without any weights; they are no network's.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from avkit.batch import SAMPLE_RATE
from avkit.media.mel import log_mel

Array = NDArray[np.float32]

#: Pixels of a side, and bands by frames of sound, that are projected.
_PIXELS, _BANDS, _FRAMES = 8, 32, 12
#: Samples that the spectrogram of a window needs at least.
_LEAST = 2400


def visual_features(frames: NDArray[np.uint8], width: int, grid: int = 0) -> Array:
    """Features of pictures (T, 3, H, W): (T, width), or (T, grid, grid, width) of their parts; none negative."""
    parts = max(1, grid)
    small = F.adaptive_avg_pool2d(torch.from_numpy(frames).float() / 255 - 0.5, parts * _PIXELS)
    pieces = small.unfold(2, _PIXELS, _PIXELS).unfold(3, _PIXELS, _PIXELS)  # (T, 3, parts, parts, p, p)
    flat = pieces.permute(0, 2, 3, 1, 4, 5).flatten(3)
    out = torch.relu(flat @ _projection(flat.shape[-1], width, 1)).numpy()
    return out if grid else out[:, 0, 0]


def audio_features(sound: NDArray[np.float32], starts: NDArray[np.float64], window: float, width: int = 128) -> Array:
    """Features of the sound from each start on, `window` seconds long, (T, width); none negative."""
    samples = max(_LEAST, round(window * SAMPLE_RATE))
    first = np.round(starts * SAMPLE_RATE).astype(int)
    padded = np.pad(sound, (0, samples))
    cut = torch.from_numpy(np.stack([padded[a : a + samples] for a in first]))
    mel = F.adaptive_avg_pool2d(log_mel(cut), (_FRAMES, _BANDS)).flatten(1)
    return torch.relu((mel + 2) @ _projection(mel.shape[-1], width, 2)).numpy()


@lru_cache(maxsize=8)
def _projection(inputs: int, outputs: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(inputs, outputs, generator=draw) / inputs**0.5
