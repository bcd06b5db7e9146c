# SPDX-License-Identifier: Apache-2.0
"""Pictures and sound that are shown for steps of stored features."""

from dataclasses import replace

from avkit.batch import SAMPLE_RATE, Item
from avkit.media.decode import DecodedClip


def picture_place(item: Item) -> float:
    """Place within a step of features at which the picture is taken that is shown for it."""
    return min(1.0, 0.5 + item.offset / item.hop) if item.offset > 0 else 0.5


def first_steps(clip: DecodedClip, steps: int) -> DecodedClip:
    """The first steps of a clip, which lasts as long."""
    if steps == clip.steps:
        return clip
    samples = round(steps * clip.hop * SAMPLE_RATE)
    return replace(clip, frames=clip.frames[:steps], waveform=clip.waveform[:samples], duration=steps * clip.hop)
