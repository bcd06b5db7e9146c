# SPDX-License-Identifier: Apache-2.0
"""Frames and audio of a clip on one grid of steps; all media functions of daily use can be imported from here."""

from dataclasses import dataclass

import torch
from torch import Tensor

from avkit.batch import SAMPLE_RATE
from avkit.errors import MediaError
from avkit.media.audio import pad_or_trim, read_waveform
from avkit.media.clip import Clip, ClipSource, open_clip
from avkit.media.image import load_image
from avkit.media.probe import MediaInfo, probe
from avkit.media.video import count_steps, iter_frames, iter_frames_at, read_frames, step_times
from avkit.media.write import write_video

__all__ = [
    "Clip",
    "ClipSource",
    "DecodedClip",
    "MediaInfo",
    "count_steps",
    "iter_frames",
    "iter_frames_at",
    "load_image",
    "open_clip",
    "pad_or_trim",
    "probe",
    "read_clip",
    "read_frames",
    "read_waveform",
    "step_times",
    "write_video",
]


@dataclass
class DecodedClip:
    """Frames and audio of one clip on the same grid of steps.

    Attributes:
        frames: The frame shown in the middle of each step, uint8 (T, 3, H, W), RGB.
        waveform: float32 (T * hop * 16000,), mono in [-1, 1], padded with silence or cut to the steps.
        duration: Seconds, as present in the file, before rounding to steps.
        hop: Seconds per step.
        source_size: Height and width of the video in pixels, upright, before resizing.
        fps: Frames per second of the video; 0 for a still image.
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
    source: ClipSource,
    hop: float = 1.0,
    size: int | tuple[int, int] | None = None,
    *,
    silent_ok: bool = False,
    partial_ok: bool = False,
    offset: float = 0.5,
    steps: int | None = None,
    decode_frames: bool = True,
) -> DecodedClip:
    """Read frames and audio of a clip.

    Args:
        source: Video, or a still image, which is shown for as long as its audio lasts. Give an open clip to use a
            separate audio file.
        hop: Seconds per step.
        size: Height and width to resize frames to, one number for both, or None for the video's own size.
        silent_ok: Use silence where there is no audio.
        partial_ok: Use what is present of a file that is cut off.
        offset: Place within the step at which its frame is taken, in [0, 1].
        steps: Number of steps T; by default `max(1, round(duration / hop))`. Beyond the end the last frame is repeated
            and the audio is silent.
        decode_frames: Whether to decode frames; if not, `frames` is empty, (T, 3, 0, 0).

    Raises:
        MediaError: If a file cannot be read, is cut off, or lacks video or audio.
        ValueError: If `hop`, `size` or `steps` is not positive.
    """
    if steps is not None and steps < 1:
        raise ValueError(f"steps is {steps}; give at least 1, or None to follow the clip's duration.")
    clip = open_clip(source)
    clip.info.require(video=True, partial_ok=partial_ok)
    waveform = _read_audio(clip, silent_ok=silent_ok, partial_ok=partial_ok)
    duration = clip.info.duration
    if clip.info.is_image:
        duration = len(waveform) / SAMPLE_RATE
    count = steps or count_steps(duration, hop)
    frames = torch.empty((count, 3, 0, 0), dtype=torch.uint8)
    if decode_frames:
        times = [(step + offset) * hop for step in range(count)]
        frames = read_frames(clip, times, size=size, partial_ok=partial_ok)
    fitted = pad_or_trim(waveform, round(count * hop * SAMPLE_RATE))
    height, width = clip.info.size or frames.shape[-2:]
    return DecodedClip(frames, fitted, duration, hop, (height, width), clip.info.fps)


def _read_audio(clip: Clip, *, silent_ok: bool, partial_ok: bool) -> Tensor:
    """Waveform of a clip; empty where there is no audio and silence is allowed."""
    info = clip.audio_info
    if silent_ok and not info.has_audio:
        return torch.zeros(0)
    if clip.audio_path is None and info.is_image:
        raise MediaError(
            f"{info.path} is a still picture and has no sound. Pass its sound with audio=... "
            "(--audio on the command line), or silent_ok=True (--silent_ok) to use silence."
        )
    return read_waveform(clip, partial_ok=partial_ok)
