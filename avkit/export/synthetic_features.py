# SPDX-License-Identifier: Apache-2.0
"""Synthetic features in the shapes of those of pretrained networks: fixed random projections of pictures and sound.

They differ between scenes, so training from features can be tried without any weights; no network computes them.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from avkit.batch import SAMPLE_RATE
from avkit.media.mel import log_mel

Array = NDArray[np.float32]

#: Height and width in pixels of the part of a picture that is projected.
_PIXELS = 8
#: Mel bands and frames of sound that are projected.
_BANDS = 32
_FRAMES = 12
#: Minimum number of samples of a spectrogram.
_MIN_SAMPLES = 2400


def visual_features(frames: NDArray[np.uint8], width: int, grid: int = 0) -> Array:
    """Non-negative features of pictures (T, 3, H, W): (T, width), or (T, grid, grid, width) of their parts."""
    parts = max(1, grid)
    small = F.adaptive_avg_pool2d(torch.from_numpy(frames).float() / 255 - 0.5, parts * _PIXELS)
    pieces = small.unfold(2, _PIXELS, _PIXELS).unfold(3, _PIXELS, _PIXELS)  # (T, 3, parts, parts, p, p)
    flat = pieces.permute(0, 2, 3, 1, 4, 5).flatten(3)
    features: Array = torch.relu(flat @ _projection(flat.shape[-1], width, 1)).numpy()
    return features if grid else features[:, 0, 0]


def audio_features(sound: NDArray[np.float32], starts: NDArray[np.float64], window: float, width: int = 128) -> Array:
    """Non-negative features of the `window` seconds of sound from each start in seconds, (T, width)."""
    samples = max(_MIN_SAMPLES, round(window * SAMPLE_RATE))
    first = np.round(starts * SAMPLE_RATE).astype(int)
    padded = np.pad(sound, (0, samples))
    cut = torch.from_numpy(np.stack([padded[a : a + samples] for a in first]))
    mel = F.adaptive_avg_pool2d(log_mel(cut), (_FRAMES, _BANDS)).flatten(1)
    return torch.relu((mel + 2) @ _projection(mel.shape[-1], width, 2)).numpy()


@lru_cache(maxsize=8)
def _projection(inputs: int, outputs: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(inputs, outputs, generator=draw) / inputs**0.5
