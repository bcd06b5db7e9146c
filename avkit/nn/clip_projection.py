# SPDX-License-Identifier: Apache-2.0
"""The first layers of HAN and MM-Pyramid: audio, frame and motion features projected to one width."""

import torch
from torch import Tensor, nn


class ClipProjection(nn.Module):
    """One audio and one visual token per step; the visual one joins frames and motion.

    Frames are averaged before they are projected. The authors average after it, which is the same at a higher cost.

    Args:
        audio: Width of audio features.
        frames: Width of a frame's features.
        motion: Width of motion features; 0 for none.
        width: Width D.
    """

    def __init__(self, audio: int, frames: int, motion: int, width: int) -> None:
        super().__init__()
        self.audio = nn.Linear(audio, width)
        self.frames = nn.Linear(frames, width)
        self.motion: nn.Linear | None = None
        self.join: nn.Linear | None = None
        if motion:
            self.motion = nn.Linear(motion, width)
            self.join = nn.Linear(2 * width, width)

    def forward(self, audio: Tensor, frames: Tensor, motion: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From audio (B, T, A), frames (B, T, P, F) of each step and motion (B, T, M) to audio and visual (B, T, D)."""
        visual = self.frames(frames.mean(2))
        if self.motion is not None and self.join is not None:
            visual = self.join(torch.cat([visual, self.motion(motion)], -1))
        return self.audio(audio), visual
