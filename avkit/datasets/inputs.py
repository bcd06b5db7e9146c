# SPDX-License-Identifier: Apache-2.0
"""How clips are read, and what is read of one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from avkit.batch import SAMPLE_RATE
from avkit.datasets.annotations import Annotation
from avkit.datasets.grid import Grid
from avkit.features.base import Features


@dataclass(frozen=True)
class ReadOptions:
    """How clips are read.

    Attributes:
        image_size: Height and width of pictures and masks in pixels.
        hop: Seconds per step.
        steps: Number of steps of every clip; None to follow each clip's length.
        max_steps: Read at most this many steps from the start of each clip.
        frame_offset: Place within a step at which its picture is taken, in [0, 1].
        centred_audio: Use the middle of an audio file that is longer than its clip; else its start.
        silent_ok: Use silence for videos without an audio track.
        short_ok: Repeat the last picture, and be silent, where a clip is shorter than it should be.
        visual: Stored features to read instead of pictures.
        audio: Stored features to read instead of sound.
        feature_hop: Seconds between two rows of stored features that do not say it themselves.
        cache_bytes: Memory for what was read, per loader process.

    Raises:
        ValueError: If a size is not positive.
    """

    image_size: int = 96
    hop: float = 1.0
    steps: int | None = None
    max_steps: int | None = None
    frame_offset: float = 0.5
    centred_audio: bool = False
    silent_ok: bool = False
    short_ok: bool = False
    visual: Features | None = None
    audio: Features | None = None
    feature_hop: float | None = None
    cache_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        if self.image_size < 1 or not self.hop > 0 or (self.max_steps is not None and self.max_steps < 1):
            raise ValueError(
                f"image_size is {self.image_size}, hop {self.hop}, max_steps {self.max_steps}; each must be greater "
                "than 0."
            )

    def steps_of(self, annotation: Annotation) -> int | None:
        """Number of steps of a clip, where its annotation or the dataset fixes it."""
        return self.steps if annotation.steps is None else annotation.steps


@dataclass
class ClipInputs:
    """What is read of a clip, on one grid of steps; the tensors are as in `avkit.batch.Item`."""

    grid: Grid
    frames: Tensor | None = None
    waveform: Tensor | None = None
    visual: Tensor | None = None
    audio: Tensor | None = None

    def tensors(self) -> Iterator[Tensor]:
        """All tensors that are present."""
        for tensor in (self.frames, self.waveform, self.visual, self.audio):
            if tensor is not None:
                yield tensor

    def first_steps(self, count: int) -> "ClipInputs":
        """The first `count` steps, as copies that do not keep the rest in memory; all if there are no more."""
        grid = self.grid
        if grid.steps <= count:
            return self
        return ClipInputs(
            replace(grid, steps=count, cut=count * grid.hop + 2 * grid.offset),
            frames=_first_rows(self.frames, count),
            waveform=_first_rows(self.waveform, round(count * grid.hop * SAMPLE_RATE)),
            visual=_first_rows(self.visual, count),
            audio=_first_rows(self.audio, count),
        )


def _first_rows(rows: Tensor | None, count: int) -> Tensor | None:
    return None if rows is None else rows[:count].clone()
