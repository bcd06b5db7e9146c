# SPDX-License-Identifier: Apache-2.0
"""The steps of a clip: how they lie in time, and which of them an annotation concerns."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avkit.datasets.annotations import Annotation, FrameAnnotation, SpanAnnotation

#: Seconds by which an event or caption may end after its clip: labels count in whole seconds, codecs end in frames.
_MAX_OVERHANG = 1.0


@dataclass(frozen=True)
class Grid:
    """The steps of a clip.

    Attributes:
        steps: Number of steps T.
        hop: Seconds per step.
        duration: Length of the clip in seconds.
        offset: Seconds from the start of the clip to the start of step 0; features whose window is longer than their
            hop have one.
        size: Height and width of the video in pixels, or None where only features are read.
        cut: Second at which reading stops before the clip ends.
    """

    steps: int
    hop: float
    duration: float
    offset: float = 0.0
    size: tuple[int, int] | None = None
    cut: float = math.inf

    @property
    def end(self) -> float:
        """Second at which both the clip and its last step have ended."""
        return max(self.duration, self.steps * self.hop + self.offset)

    @property
    def middles(self) -> NDArray[np.float64]:
        """Middle of each step in seconds, (T,)."""
        return np.asarray((np.arange(self.steps) + 0.5) * self.hop + self.offset, np.float64)


def step_of(record: FrameAnnotation, grid: Grid, annotation: Annotation, field: str) -> int:
    """The step of a mask or box; it may lie beyond those that are read.

    Args:
        record: The mask or box.
        grid: Steps of its clip.
        annotation: The annotation that holds it, for messages.
        field: Its place in the annotation, such as `masks[0]`, for messages.

    Raises:
        DataError: If it lies beyond the clip.
    """
    time = record.seconds(grid.hop)
    if time >= grid.end:
        name, value = record.place
        raise annotation.error(f"{field}.{name}", f"{value} is beyond the clip, which lasts {grid.duration:.2f} s.")
    # 0.3 s at a hop of 0.1 s is step 3, whatever the floating point says
    return math.floor(time / grid.hop + 1e-6)


def steps_of(record: SpanAnnotation, grid: Grid, annotation: Annotation, field: str) -> NDArray[np.bool_]:
    """The steps of an event or caption: those whose middle it covers, or the one around its own middle.

    Args:
        record: The event or caption.
        grid: Steps of its clip.
        annotation: The annotation that holds it, for messages.
        field: Its place in the annotation, such as `events[0]`, for messages.

    Returns:
        bool (T,).

    Raises:
        DataError: If it lies beyond the clip, or ends more than a second after it.
    """
    start = record.start
    end = min(record.end, grid.end)
    if start >= end:
        raise annotation.error(f"{field}.start", f"{start} s is beyond the clip, which lasts {grid.duration:.2f} s.")
    if math.inf > record.end > grid.end + _MAX_OVERHANG:
        raise annotation.error(
            f"{field}.end",
            f"{record.end} s is after the end of the clip, which lasts {grid.duration:.2f} s. Correct it, or leave "
            "'end' out for the end of the clip.",
        )
    covered: NDArray[np.bool_] = (grid.middles >= start) & (grid.middles < end)
    if not covered.any():
        middle = int(((start + end) / 2 - grid.offset) / grid.hop)
        covered = np.arange(grid.steps) == middle
    return covered
