# SPDX-License-Identifier: Apache-2.0
"""A clip, picture and sound together, from any video, or from a picture or video and a sound file."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from avkit.batch import SAMPLE_RATE
from avkit.errors import MediaError
from avkit.media.image import load_picture
from avkit.media.pictures import count_steps, iter_frames, iter_shown, read_frames, step_times
from avkit.media.probe import MediaInfo, probe
from avkit.media.sound import read_waveform
from avkit.media.write import write_video

__all__ = [
    "Clip",
    "MediaInfo",
    "count_steps",
    "fit_samples",
    "iter_frames",
    "iter_shown",
    "load_picture",
    "probe",
    "read_clip",
    "read_frames",
    "read_waveform",
    "step_times",
    "write_video",
]


@dataclass
class Clip:
    """Picture and sound of one clip on the same grid of steps.

    Attributes:
        frames: uint8 (T, 3, H, W), RGB, the picture shown in the middle of each step.
        waveform: float32 (T * hop * 16000,), mono in [-1, 1], padded with silence or cut to the steps.
        duration: Seconds, as present in the file, before rounding to steps.
        hop: Seconds per step.
        source_size: Height and width of the video in pixels, upright, before resizing.
        fps: Pictures per second of the video; 0 for a still picture.
    """

    frames: Tensor
    waveform: Tensor
    duration: float
    hop: float
    source_size: tuple[int, int]
    fps: float

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return len(self.frames)


def read_clip(
    path: str | Path,
    hop: float = 1.0,
    size: int | tuple[int, int] | None = None,
    audio: str | Path | None = None,
    silent_ok: bool = False,
    partial_ok: bool = False,
    offset: float = 0.5,
    steps: int | None = None,
    picture: bool = True,
) -> Clip:
    """Read picture and sound of a clip.

    Args:
        path: Video, or a still picture, which is then shown for as long as the sound lasts.
        hop: Seconds per step.
        size: Height and width to resize pictures to, one number for both, or None for the video's own size.
        audio: Sound file to use instead of the video's own track; it starts with the first picture.
        silent_ok: Use silence where there is no sound.
        partial_ok: Use what is there of a file that is cut off.
        offset: Place within the step at which its picture is taken, in [0, 1].
        steps: Number of steps T; by default `max(1, round(duration / hop))`. Beyond the end the last picture stays and
            there is silence.
        picture: Whether to decode pictures; without them `frames` is empty, (T, 3, 0, 0).

    Raises:
        MediaError: If a file cannot be read, is cut off, or lacks picture or sound.
        ValueError: If `hop`, `size` or `steps` is not positive.
    """
    if steps is not None and steps < 1:
        raise ValueError(f"steps is {steps}; give at least 1, or None to follow the clip's duration.")
    info = probe(path)
    info.require(video=True, partial_ok=partial_ok)
    waveform, sound_duration = _sound(info, audio, silent_ok, partial_ok)
    duration = sound_duration if info.is_image else info.duration
    count = steps or count_steps(duration, hop)
    times = [(k + offset) * hop for k in range(count)]
    frames = torch.empty((count, 3, 0, 0), dtype=torch.uint8)
    if picture:
        frames = read_frames(path, times, size=size, partial_ok=partial_ok, info=info)
    fitted = fit_samples(waveform, round(count * hop * SAMPLE_RATE))
    height, width = info.size or frames.shape[-2:]
    return Clip(frames, fitted, duration, hop, (height, width), info.fps)


def fit_samples(waveform: Tensor, samples: int) -> Tensor:
    """Sound of exactly so many samples, cut or followed by silence."""
    return torch.nn.functional.pad(waveform[:samples], (0, max(0, samples - len(waveform))))


def _sound(info: MediaInfo, audio: str | Path | None, silent_ok: bool, partial_ok: bool) -> tuple[Tensor, float]:
    """Waveform and its duration in seconds; empty where silence is allowed and needed."""
    source = info if audio is None else probe(audio)
    if silent_ok and not source.has_audio:
        return torch.zeros(0), 0.0
    if audio is None and info.is_image:
        raise MediaError(
            f"{info.path} is a still picture and has no sound. Pass its sound with audio=... "
            "(--audio on the command line), or silent_ok=True (--silent_ok) to use silence."
        )
    waveform = read_waveform(source.path, partial_ok=partial_ok, info=source)
    return waveform, len(waveform) / SAMPLE_RATE
