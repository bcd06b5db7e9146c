# SPDX-License-Identifier: Apache-2.0
"""The spectrogram of models of sound source localisation, EZ-VSL and LVS."""

from functools import lru_cache

import torch
from torch import Tensor

from avkit.batch import SAMPLE_RATE

#: Samples of a window.
WINDOW = 512
#: Samples from one window to the next.
STRIDE = 238
#: Share of a window that is tapered.
_TAPER = 0.25
#: Added to the power density before its logarithm is taken.
_OFFSET = 1e-7
#: The logarithm is divided by this number.
_SCALE = 12.0


def log_power_spectrogram(waveform: Tensor) -> Tensor:
    """Logarithm of the power density at 257 frequencies, `ln(P + 1e-7) / 12`.

    The density P is that of `scipy.signal.spectrogram`, over windows of 512 samples, 238 apart, whose mean is removed,
    with a Tukey window of 0.25.

    Args:
        waveform: (..., samples), 16 kHz in [-1, 1], at least 512 samples.

    Returns:
        (..., 257, frames), `frames = 1 + (samples - 512) // 238`: 200 for 3 s.

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


def crop_around_steps(waveform: Tensor, steps: int, hop: float, seconds: float) -> Tensor:
    """Crop the audio around the middle of each step.

    A crop that would reach beyond an end of the waveform is moved inside. A waveform shorter than a crop is repeated.

    Args:
        waveform: (B, samples), 16 kHz.
        steps: Number of steps T.
        hop: Seconds per step.
        seconds: Length of a crop.

    Returns:
        (B, T, n).
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
    window = torch.ones_like(place)
    window = torch.where(place > 1 - _TAPER / 2, falling, window)
    window = torch.where(place < _TAPER / 2, rising, window)
    return window.float().to(device)
