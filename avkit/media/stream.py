# SPDX-License-Identifier: Apache-2.0
"""Long videos in windows of a few steps, so that memory never holds more than one window."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avkit.batch import SAMPLE_RATE
from avkit.media.audio import iter_audio, pad_or_trim
from avkit.media.clip import ClipSource, open_clip
from avkit.media.decode import DecodedClip, read_clip
from avkit.media.probe import MediaInfo
from avkit.media.video import iter_frames_at, step_times


def iter_clips(
    source: ClipSource,
    steps: int,
    hop: float = 1.0,
    size: int | tuple[int, int] | None = None,
    *,
    silent_ok: bool = False,
    offset: float = 0.5,
) -> Iterator[DecodedClip]:
    """Read a video in clips of `steps` steps, the last one shorter; joined they equal what `read_clip` returns.

    Args:
        source: Video, or a still image, which comes as one clip. Give an open clip to use a separate audio file.
        steps: Steps per clip.
        hop: Seconds per step.
        size: Height and width to resize frames to, one number for both, or None for the video's own size.
        silent_ok: Use silence where there is no audio.
        offset: Place within the step at which its frame is taken, in [0, 1].

    Raises:
        MediaError: If a file cannot be read, is cut off, or lacks video or audio.
        ValueError: If `steps`, `hop` or `size` is not positive.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; a piece has 1 or more.")
    clip = open_clip(source)
    clip.info.require(video=True)
    if clip.info.is_image:
        yield read_clip(clip, hop, size, silent_ok=silent_ok, offset=offset)
        return
    if clip.audio_info.has_audio or not silent_ok:
        clip.audio_info.require(audio=True)
    times = step_times(clip.info.duration, hop, offset)
    images = iter_frames_at(clip, times, size)
    audio = _AudioReader(clip.audio_info)
    for first in range(0, len(times), steps):
        end = min(first + steps, len(times))
        frames = torch.stack([torch.from_numpy(next(images)).permute(2, 0, 1) for _ in range(first, end)])
        waveform = audio.read(round(end * hop * SAMPLE_RATE) - round(first * hop * SAMPLE_RATE))
        height, width = clip.info.size or frames.shape[-2:]
        duration = (end - first) * hop
        if end == len(times):
            duration = clip.info.duration - first * hop
        yield DecodedClip(frames, waveform, duration, hop, (height, width), clip.info.fps)


class _AudioReader:
    """Reads the audio of a file from start to end; silence after its end, or where the file has no audio."""

    def __init__(self, info: MediaInfo) -> None:
        self.chunks: Iterator[NDArray[np.float32]] = iter(())
        if info.has_audio:
            self.chunks = iter_audio(info, SAMPLE_RATE)
        self.rest = np.zeros(0, np.float32)

    def read(self, samples: int) -> Tensor:
        """The next samples, mono, float32 (samples,)."""
        parts = [self.rest]
        available = len(self.rest)
        while available < samples and (chunk := next(self.chunks, None)) is not None:
            parts.append(chunk.mean(0))
            available += chunk.shape[1]
        joined = np.concatenate(parts)
        self.rest = joined[samples:]
        return pad_or_trim(torch.from_numpy(joined[:samples]).clamp(-1, 1), samples)
