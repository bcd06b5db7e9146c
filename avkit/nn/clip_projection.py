# SPDX-License-Identifier: Apache-2.0
"""The first layers of HAN and MM-Pyramid: sound, frames and motion brought to one width."""

import torch
from torch import Tensor, nn


class ClipFeatures(nn.Module):
    """Sound, and frames together with motion, one token each per step.

    Frames are averaged before they are projected, which is the same as officially after it, at a share of the cost.

    Args:
        audio: Width of sound.
        frames: Width of a frame's features.
        motion: Width of the motion's; 0 for none.
        width: Width D.
    """

    def __init__(self, audio: int, frames: int, motion: int, width: int) -> None:
        super().__init__()
        self.audio, self.frames = nn.Linear(audio, width), nn.Linear(frames, width)
        self.motion = nn.Linear(motion, width) if motion else None
        self.join = nn.Linear(2 * width, width) if motion else None

    def forward(self, audio: Tensor, frames: Tensor, motion: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From sound (B, T, A), frames (B, T, P, F) of each step and motion (B, T, M) to sound and sight (B, T, D)."""
        seen = self.frames(frames.mean(2))
        if self.motion is not None and self.join is not None:
            seen = self.join(torch.cat([seen, self.motion(motion)], -1))
        return self.audio(audio), seen
