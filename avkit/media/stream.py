# SPDX-License-Identifier: Apache-2.0
"""Long videos piece by piece: pictures and sound on one grid of steps, never more than a piece in memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avkit.batch import SAMPLE_RATE
from avkit.media.decode import Clip, fit_samples, read_clip
from avkit.media.pictures import iter_shown, step_times
from avkit.media.probe import MediaInfo, probe
from avkit.media.sound import iter_sound


def iter_clips(
    path: str | Path,
    steps: int,
    hop: float = 1.0,
    size: int | tuple[int, int] | None = None,
    audio: str | Path | None = None,
    silent_ok: bool = False,
) -> Iterator[Clip]:
    """A video as clips of `steps` steps each, the last one shorter; together they are what `read_clip` reads.

    Args:
        path: Video, or a still picture, which comes as one clip.
        steps: Steps per clip.
        hop: Seconds per step.
        size: Height and width to resize pictures to, one number for both, or None for the video's own size.
        audio: Sound file to use instead of the video's own track.
        silent_ok: Use silence where there is no sound.

    Raises:
        MediaError: If a file cannot be read, is cut off, or lacks picture or sound.
        ValueError: If `steps`, `hop` or `size` is not positive.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; a piece has 1 or more.")
    info = probe(path)
    info.require(video=True)
    if info.is_image:
        yield read_clip(path, hop, size, audio, silent_ok)
        return
    source = info if audio is None else probe(audio)
    if not (silent_ok and not source.has_audio):
        source.require(audio=True)
    times = step_times(info.duration, hop)
    pictures, sound = iter_shown(path, times, size), _Sound(source)
    for first in range(0, len(times), steps):
        count = min(steps, len(times) - first)
        frames = torch.stack([torch.from_numpy(next(pictures)).permute(2, 0, 1) for _ in range(count)])
        samples = round((first + count) * hop * SAMPLE_RATE) - round(first * hop * SAMPLE_RATE)
        rest = info.duration - first * hop
        height, width = info.size or frames.shape[-2:]
        duration = rest if first + count == len(times) else count * hop
        yield Clip(frames, sound.take(samples), duration, hop, (height, width), info.fps)


class _Sound:
    """The sound of a file, taken from its start to its end in portions; silence after it, or where there is none."""

    def __init__(self, info: MediaInfo) -> None:
        self.pieces = iter_sound(info, SAMPLE_RATE) if info.has_audio else iter(())
        self.held = np.zeros(0, np.float32)

    def take(self, samples: int) -> Tensor:
        """The next samples, float32 (samples,)."""
        parts = [self.held]
        while sum(map(len, parts)) < samples and (piece := next(self.pieces, None)) is not None:
            parts.append(piece.mean(0))
        every = np.concatenate(parts)
        self.held = every[samples:]
        return fit_samples(torch.from_numpy(every[:samples]).clamp(-1, 1), samples)
