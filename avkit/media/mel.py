# SPDX-License-Identifier: Apache-2.0
"""The log-mel spectrogram that VGGish was trained on, as matrix products on any device.

Source:
    Hershey et al., CNN architectures for large-scale audio classification, ICASSP 2017, section 2; constants as in
    `vggish_params.py` and `mel_features.py` of tensorflow/models (research/audioset/vggish), which
    harritaylor/torchvggish at commit f3f90969 carries unchanged.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from avkit.batch import SAMPLE_RATE

#: Samples of a frame: 25 ms.
WINDOW = 400
#: Samples from one frame to the next: 10 ms.
STRIDE = 160
#: Mel bands.
MEL_BANDS = 64
#: Frames of one example, which is what the network takes.
EXAMPLE_FRAMES = 96
#: Samples of one example: 96 frames span 0.975 s.
EXAMPLE_SAMPLES = (EXAMPLE_FRAMES - 1) * STRIDE + WINDOW

_FFT = 512
_LOW_HZ = 125.0
_HIGH_HZ = 7500.0
#: What is added before the logarithm, by VGGish.
_LOG_OFFSET = 0.01


def log_mel(waveform: Tensor, stride: int = STRIDE, offset: float = _LOG_OFFSET) -> Tensor:
    """Log-mel spectrogram: logarithm of the magnitude in 64 mel bands, every 10 ms; no padding, no gradient.

    Args:
        waveform: float32 or float64 (..., samples), 16 kHz in [-1, 1].
        stride: Samples from one frame to the next; VGGish takes 160.
        offset: What is added to the magnitude before the logarithm; VGGish takes 0.01, YAMNet 0.001.

    Returns:
        (..., frames, 64) of the same dtype and device, `frames = 1 + (samples - 400) // stride`; 0 frames where there
        are fewer than 400 samples.

    Raises:
        TypeError: If the waveform is not of a real floating dtype.
    """
    if not waveform.is_floating_point():
        raise TypeError(f"log_mel takes a float waveform in [-1, 1], not {waveform.dtype}; divide int16 by 32768.")
    dtype = waveform.dtype
    with torch.no_grad(), torch.autocast(waveform.device.type, enabled=False):
        x = waveform if dtype == torch.float64 else waveform.float()
        if x.shape[-1] < WINDOW:
            return waveform.new_zeros((*x.shape[:-1], 0, MEL_BANDS))
        frames = x.unfold(-1, WINDOW, stride) * _window(x.device, x.dtype)
        spectrum = torch.fft.rfft(frames, n=_FFT)
        # a quarter of the time of abs(), which guards against an overflow that cannot occur with audio in [-1, 1]
        magnitude = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag).sqrt_()
        return torch.log(magnitude @ _mel(x.device, x.dtype) + offset).to(dtype)


def mel_matrix() -> Tensor:
    """Weights of 64 mel bands over 257 frequency bins, float64 (257, 64).

    The filters are triangles, linear in mel, `1127 ln(1 + f / 700)`, with 66 edges evenly spaced from 125 to 7500 Hz.
    The bin at 0 Hz has weight 0, and areas are not normalised.
    """
    bins = _hertz_to_mel(torch.linspace(0, SAMPLE_RATE / 2, _FFT // 2 + 1, dtype=torch.float64))[:, None]
    edges = torch.linspace(_mel_of(_LOW_HZ), _mel_of(_HIGH_HZ), MEL_BANDS + 2, dtype=torch.float64)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = torch.minimum(rising, falling).clamp(min=0)
    weights[0] = 0
    return weights


def vggish_examples(waveform: Tensor) -> Tensor:
    """Log-mel spectrogram of successive examples of 96 frames, 0.96 s apart; an incomplete last example is dropped.

    Args:
        waveform: (samples,), 16 kHz in [-1, 1].

    Returns:
        (n, 96, 64).
    """
    mel = log_mel(waveform)
    count = len(mel) // EXAMPLE_FRAMES
    return mel[: count * EXAMPLE_FRAMES].reshape(count, EXAMPLE_FRAMES, MEL_BANDS)


def per_second_mel(waveform: Tensor, steps: int, hop: float = 1.0, stride: int = STRIDE) -> Tensor:
    """Log-mel spectrogram of each step; audio is cut into steps first, so no frame reaches into the next step.

    Args:
        waveform: (B, samples), 16 kHz in [-1, 1]; step t begins at sample `t * hop * 16000`; beyond the end there
            is silence.
        steps: Number of steps T.
        hop: Seconds per step, at least 0.025.
        stride: Samples from one frame to the next; VGGish takes 160.

    Returns:
        (B, T, frames, 64).

    Raises:
        ValueError: If a step is shorter than one frame of 25 ms.
    """
    return log_mel(cut_steps(waveform, steps, hop), stride)


def cut_steps(waveform: Tensor, steps: int, hop: float = 1.0, samples: int | None = None) -> Tensor:
    """Cut audio into steps.

    Args:
        waveform: (B, samples) at 16 kHz.
        steps: Number of steps T.
        hop: Seconds per step; where that is no whole number of samples, each step begins at the nearest one.
        samples: Samples n per step in the result; by default those of one step. A smaller number leaves out the rest
            of the step, a larger one adds silence. Beyond the end of the waveform there is silence.

    Returns:
        (B, T, n).

    Raises:
        ValueError: If a step is shorter than one frame of 25 ms.
    """
    width = round(hop * SAMPLE_RATE)
    if width < WINDOW:
        raise ValueError(f"hop is {hop} s, {width} samples; a step needs at least {WINDOW / SAMPLE_RATE} s of sound.")
    if samples is None:
        samples = width
    starts = (torch.arange(steps, dtype=torch.float64) * hop * SAMPLE_RATE).round().long()
    missing = _start(steps - 1, hop) + width - waveform.shape[-1] if steps else 0
    padded = torch.nn.functional.pad(waveform, (0, max(0, missing)))
    whole_samples = abs(hop * SAMPLE_RATE - width) < 1e-9
    if steps and whole_samples and samples == width:  # a view is enough
        return padded[..., : steps * width].unflatten(-1, (steps, width))
    index = starts[:, None] + torch.arange(min(width, samples))
    pieces = padded[..., index.to(waveform.device)]
    return torch.nn.functional.pad(pieces, (0, samples - pieces.shape[-1]))


def windows_from_starts(waveform: Tensor, steps: int, hop: float, samples: int) -> Tensor:
    """The samples that follow the start of each step, (B, T, samples), silence beyond the end.

    Args:
        waveform: (B, samples) at 16 kHz.
        steps: Number of steps T.
        hop: Seconds per step.
        samples: Samples of a window.
    """
    starts = (torch.arange(steps, dtype=torch.float64) * hop * SAMPLE_RATE).round().long()
    missing = _start(steps - 1, hop) + samples - waveform.shape[1]
    places = starts[:, None] + torch.arange(samples)
    return torch.nn.functional.pad(waveform, (0, max(0, missing)))[:, places.to(waveform.device)]


def _start(step: int, hop: float) -> int:
    """Sample at which a step begins; a number that graphs of `torch.export` know."""
    return round(step * hop * SAMPLE_RATE)


def _hertz_to_mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hertz / 700.0)


def _mel_of(hertz: float) -> float:
    return 1127.0 * math.log1p(hertz / 700.0)


def _mel(device: torch.device, dtype: torch.dtype) -> Tensor:
    """`mel_matrix` on a device; a traced graph makes its own, for what it makes must not outlive it."""
    return mel_matrix().to(device, dtype) if torch.compiler.is_compiling() else _cached_mel(device, dtype)


def _window(device: torch.device, dtype: torch.dtype) -> Tensor:
    return _hann(device, dtype) if torch.compiler.is_compiling() else _cached_window(device, dtype)


def _hann(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.hann_window(WINDOW, periodic=True, dtype=torch.float64).to(device, dtype)


@lru_cache(maxsize=8)
def _cached_mel(device: torch.device, dtype: torch.dtype) -> Tensor:
    return mel_matrix().to(device, dtype)


@lru_cache(maxsize=8)
def _cached_window(device: torch.device, dtype: torch.dtype) -> Tensor:
    return _hann(device, dtype)
