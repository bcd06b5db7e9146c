# SPDX-License-Identifier: Apache-2.0
"""Kaldi's log-mel filterbank, which AST and BEATs were trained on, as matrix products on any device.

Source:
    Kaldi's `feature-fbank.cc` with the options of the authors of AST (`htk_compat`, no energy, no dither) and BEATs;
    torchaudio's `compliance.kaldi.fbank` computes the same.
"""

import math
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.batch import SAMPLE_RATE
from avkit.media.mel import STRIDE, WINDOW

#: What precedes a sample counts against it by this factor.
_PREEMPHASIS = 0.97
_FFT = 512
_LOW_HZ = 20.0
#: Least energy of a band, before the logarithm.
_FLOOR = torch.finfo(torch.float32).eps
#: Exponent by which Kaldi's own window differs from Hann's.
_POVEY = 0.85


def kaldi_fbank(samples: Tensor, bands: int = 128, window: Literal["hann", "povey"] = "hann") -> Tensor:
    """Logarithm of the energy in mel bands every 10 ms, of frames of 25 ms without mean; no gradient.

    Args:
        samples: (..., n), 16 kHz.
        bands: Number of mel bands M, from 20 to 8000 Hz.
        window: Shape of the window.

    Returns:
        (..., frames, M), `frames = 1 + (n - 400) // 160`; 0 frames where there are fewer than 400 samples.
    """
    with torch.no_grad(), torch.autocast(samples.device.type, enabled=False):
        x = samples.float()
        if x.shape[-1] < WINDOW:
            return x.new_zeros((*x.shape[:-1], 0, bands))
        frames = x.unfold(-1, WINDOW, STRIDE)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
        frames = (frames - _PREEMPHASIS * before) * _window(window).to(frames)
        spectrum = torch.fft.rfft(F.pad(frames, (0, _FFT - WINDOW)))
        power = spectrum.real.square() + spectrum.imag.square()
        return (power @ kaldi_mel_matrix(bands).to(power)).clamp(min=_FLOOR).log()


@lru_cache(maxsize=4)
def kaldi_mel_matrix(bands: int) -> Tensor:
    """Weights of mel bands over 257 frequency bins, float64 (257, M): triangles in mel; the last bin has weight 0."""
    bins = _mel(torch.arange(_FFT // 2 + 1, dtype=torch.float64) * (SAMPLE_RATE / _FFT))[:, None]
    low = 1127.0 * math.log1p(_LOW_HZ / 700.0)
    high = 1127.0 * math.log1p(SAMPLE_RATE / 2 / 700.0)
    edges = torch.linspace(low, high, bands + 2, dtype=torch.float64)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = torch.minimum(rising, falling).clamp(min=0)
    weights[-1] = 0
    return weights


def _mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hertz / 700.0)


def _window(name: str) -> Tensor:
    window = torch.hann_window(WINDOW, periodic=False, dtype=torch.float64)
    return window**_POVEY if name == "povey" else window
