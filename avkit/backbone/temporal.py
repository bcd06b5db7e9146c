# SPDX-License-Identifier: Apache-2.0
"""Temporal perception: audio and pictures over windows of several lengths."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from avkit.nn.attention import WindowAttention


class TemporalScale(nn.Module):
    """One window length: attention within each modality plus attention to the other (Eq. 1 to 3).

    Args:
        width: Width D.
        heads: Attention heads.
        window: Window S; each step sees S / 2 neighbours on both sides.
        dropout: In training.
    """

    def __init__(self, width: int, heads: int, window: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.audio_self, self.frame_self, self.audio_cross, self.frame_cross = (
            WindowAttention(width, heads, window // 2, dropout) for _ in range(4)
        )

    def forward(self, audio: Tensor, frame: Tensor, valid: Tensor, meet: bool = True) -> tuple[Tensor, Tensor]:
        """Mix audio (B, T, D) and frame (B, T, D) within the window; padding neither gives nor takes."""
        a, v = self.audio_self(audio, audio, valid), self.frame_self(frame, frame, valid)
        if not meet:
            return a, v
        return a + self.audio_cross(audio, frame, valid), v + self.frame_cross(frame, audio, valid)


class TemporalPerception(nn.Module):
    """All window lengths side by side, then one projection of the concatenation (Eq. 4).

    Each modality keeps a residual to its input; norms stand before the attention, which the paper leaves open.

    Args:
        width: Width D.
        heads: Attention heads.
        windows: Window lengths in steps, each even and at least 2.
        dropout: In training.

    Source:
        AV-Unified, section III-B, Eq. 1 to 4.
    """

    def __init__(self, width: int, heads: int = 4, windows: Sequence[int] = (2, 4, 6), dropout: float = 0.0) -> None:
        super().__init__()
        if not windows or any(s < 2 or s % 2 for s in windows):
            raise ValueError(f"windows must be even numbers of at least 2 steps, got {list(windows)}.")
        self.norm_audio, self.norm_frame = nn.LayerNorm(width), nn.LayerNorm(width)
        self.scales = nn.ModuleList(TemporalScale(width, heads, s, dropout) for s in windows)
        self.join_audio, self.join_frame = (nn.Linear(width * (1 + len(windows)), width) for _ in range(2))

    def forward(self, audio: Tensor, frame: Tensor, valid: Tensor, meet: bool = True) -> tuple[Tensor, Tensor]:
        """Mix over time: audio (B, T, D), frame (B, T, D), valid bool (B, T); shapes stay.

        Without `meet` each modality is mixed by itself.
        """
        a, v = self.norm_audio(audio), self.norm_frame(frame)
        mixed = [scale(a, v, valid, meet) for scale in self.scales]
        audio = audio + self.join_audio(torch.cat([a, *(m[0] for m in mixed)], dim=-1))
        frame = frame + self.join_frame(torch.cat([v, *(m[1] for m in mixed)], dim=-1))
        keep = valid[..., None]
        return audio * keep, frame * keep
