# SPDX-License-Identifier: Apache-2.0
"""The power spectrogram that models of sound source localisation hear."""

from functools import lru_cache

import torch
from torch import Tensor

from avkit.batch import SAMPLE_RATE

#: Samples of a window, and from one to the next.
WINDOW, STRIDE = 512, 238
#: Share of a window that is tapered, and what keeps the logarithm finite and makes it small.
_TAPER, _OFFSET, _SCALE = 0.25, 1e-7, 12.0


def log_spectrogram(waveform: Tensor) -> Tensor:
    """Logarithm of the power density at 257 frequencies, `ln(P + 1e-7) / 12`.

    Windows of 512 samples, 238 apart, without their mean, under a Tukey window of 0.25; as `scipy.signal.spectrogram`.

    Args:
        waveform: (..., samples), 16 kHz in [-1, 1], from 512 samples on.

    Returns:
        (..., 257, frames), `frames = 1 + (samples - 512) // 238`: 200 of 3 s.

    Raises:
        ValueError: If there are fewer samples.

    Source:
        stoneMo/EZ-VSL at commit 95ff5bff3019, `datasets.py`; LVS does the same.
    """
    if waveform.shape[-1] < WINDOW:
        raise ValueError(f"A spectrogram takes {WINDOW} samples or more, got {waveform.shape[-1]}.")
    frames = waveform.unfold(-1, WINDOW, STRIDE)
    frames = (frames - frames.mean(-1, keepdim=True)) * _window(waveform.device)
    power = torch.fft.rfft(frames).abs().square()
    weight = torch.full((WINDOW // 2 + 1,), 2.0, device=waveform.device)
    weight[[0, -1]] = 1.0
    density = power * weight / (SAMPLE_RATE * _window(waveform.device).square().sum())
    return ((density + _OFFSET).log() / _SCALE).transpose(-1, -2)


def sound_around(waveform: Tensor, steps: int, hop: float, seconds: float) -> Tensor:
    """The sound around the middle of each step: (B, samples) to (B, T, n).

    A piece that would reach over an end of the sound is moved inside; a sound shorter than a piece is repeated.

    Args:
        waveform: (B, samples), 16 kHz.
        steps: Number of steps T.
        hop: Seconds per step.
        seconds: Length of a piece.
    """
    length = round(seconds * SAMPLE_RATE)
    while 0 < waveform.shape[1] < length:
        waveform = torch.cat([waveform, waveform], 1)[:, :length]
    middle = (torch.arange(steps, device=waveform.device) + 0.5) * hop * SAMPLE_RATE
    start = (middle - length / 2).round().long().clamp(0, waveform.shape[1] - length)
    return waveform.unfold(1, length, 1)[:, start]


@lru_cache(maxsize=8)
def _window(device: torch.device) -> Tensor:
    """Tukey window of 512 samples, periodic, float32."""
    place = torch.arange(WINDOW, dtype=torch.float64) / WINDOW
    rising = 0.5 * (1 + torch.cos(torch.pi * (2 * place / _TAPER - 1)))
    falling = 0.5 * (1 + torch.cos(torch.pi * (2 * place / _TAPER - 2 / _TAPER + 1)))
    window = torch.where(
        place < _TAPER / 2, rising, torch.where(place > 1 - _TAPER / 2, falling, torch.ones_like(place))
    )
    return window.float().to(device)
