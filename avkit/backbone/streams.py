# SPDX-License-Identifier: Apache-2.0
"""From the weighed streams of the backbone to the tokens that heads read."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class TokenProjection(nn.Module):
    """Linear layers behind the gate, which make one audio token a step of one or several audio streams.

    Heads read one audio token a step and normalise each token by itself, which would remove the weights of the gate; a
    layer with a bias keeps them visible. The paper concatenates all streams "into a single sequence" and leaves open
    how it is read.

    Args:
        width: Width D.
        audio_streams: Number of audio streams.
        all_streams: Project frames and patches too.

    Source:
        AV-Unified, section III-D, behind Eq. 9; the layers are ours.
    """

    def __init__(self, width: int, audio_streams: int, *, all_streams: bool) -> None:
        super().__init__()
        self.audio = nn.Linear(audio_streams * width, width)
        self.frame = nn.Linear(width, width) if all_streams else nn.Identity()
        self.patches = nn.Linear(width, width) if all_streams else nn.Identity()

    def forward(self, audio: Sequence[Tensor], frame: Tensor, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From audio streams (B, T, D), frame (B, T, D) and patches (B, T, P, D) to audio, frame and patches."""
        return self.audio(torch.cat(list(audio), dim=-1)), self.frame(frame), self.patches(patches)
