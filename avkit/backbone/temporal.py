# SPDX-License-Identifier: Apache-2.0
"""Temporal perception: attention over time within windows of several lengths."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from avkit.nn.attention import WindowAttention


class TemporalScale(nn.Module):
    """One window length: self-attention of each modality plus cross-attention to the other (Eq. 1 to 3).

    Args:
        width: Width D.
        heads: Attention heads.
        window: Window length S in steps; each step attends to S / 2 neighbours on both sides.
        dropout: In training.
    """

    def __init__(self, width: int, heads: int, window: int, dropout: float = 0.0) -> None:
        super().__init__()
        reach = window // 2
        self.audio_self = WindowAttention(width, heads, reach, dropout)
        self.frame_self = WindowAttention(width, heads, reach, dropout)
        self.audio_cross = WindowAttention(width, heads, reach, dropout)
        self.frame_cross = WindowAttention(width, heads, reach, dropout)

    def forward(
        self, audio: Tensor, frame: Tensor, valid: Tensor, *, cross_modal: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Attended audio (B, T, D) and frame (B, T, D); valid bool (B, T), padding is not attended to."""
        attended_audio = self.audio_self(audio, audio, valid)
        attended_frame = self.frame_self(frame, frame, valid)
        if not cross_modal:
            return attended_audio, attended_frame
        attended_audio = attended_audio + self.audio_cross(audio, frame, valid)
        attended_frame = attended_frame + self.frame_cross(frame, audio, valid)
        return attended_audio, attended_frame


class TemporalPerception(nn.Module):
    """Windows of several lengths, then one projection of the concatenation of all (Eq. 4).

    Each modality keeps a residual to its input; norms stand before the attention, which the paper leaves open.

    Args:
        width: Width D.
        heads: Attention heads.
        windows: Window lengths in steps, each even and at least 2.
        dropout: Dropout rate in training.
        stacked: Each window reads what the one before it made, so that windows grow with depth, as the text of section
            III-B says; False has all of them read the input side by side. Eq. 1 to 4 allow both.
        depth: Number of such modules, one behind the other.

    Raises:
        ValueError: If a window is odd or below 2 steps, or there is none.

    Source:
        AV-Unified, section III-B, Eq. 1 to 4.
    """

    def __init__(
        self,
        width: int,
        heads: int = 4,
        windows: Sequence[int] = (2, 4, 6),
        dropout: float = 0.0,
        *,
        stacked: bool = False,
        depth: int = 1,
    ) -> None:
        super().__init__()
        if not windows or any(s < 2 or s % 2 for s in windows):
            raise ValueError(f"windows must be even numbers of at least 2 steps, got {list(windows)}.")
        joined = width * (1 + len(windows))
        self.norm_audio = nn.LayerNorm(width)
        self.norm_frame = nn.LayerNorm(width)
        self.scales = nn.ModuleList(TemporalScale(width, heads, window, dropout) for window in windows)
        self.join_audio = nn.Linear(joined, width)
        self.join_frame = nn.Linear(joined, width)
        self.stacked = stacked
        self.deeper = nn.ModuleList(
            TemporalPerception(width, heads, windows, dropout, stacked=stacked) for _ in range(depth - 1)
        )

    def forward(
        self, audio: Tensor, frame: Tensor, valid: Tensor, *, cross_modal: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Attend over time.

        Args:
            audio: (B, T, D).
            frame: (B, T, D).
            valid: bool (B, T).
            cross_modal: False lets each modality attend to itself alone.

        Returns:
            Audio and frame, (B, T, D) each; zero on padding.
        """
        audio, frame = self._attend(audio, frame, valid, cross_modal=cross_modal)
        for module in self.deeper:
            audio, frame = module(audio, frame, valid, cross_modal=cross_modal)
        return audio, frame

    def _attend(self, audio: Tensor, frame: Tensor, valid: Tensor, *, cross_modal: bool) -> tuple[Tensor, Tensor]:
        """The first module."""
        source_audio = self.norm_audio(audio)
        source_frame = self.norm_frame(frame)
        audio_scales = [source_audio]
        frame_scales = [source_frame]
        for scale in self.scales:
            attended_audio, attended_frame = scale(source_audio, source_frame, valid, cross_modal=cross_modal)
            audio_scales.append(attended_audio)
            frame_scales.append(attended_frame)
            if self.stacked:
                source_audio = self.norm_audio(attended_audio)
                source_frame = self.norm_frame(attended_frame)
        audio = audio + self.join_audio(torch.cat(audio_scales, dim=-1))
        frame = frame + self.join_frame(torch.cat(frame_scales, dim=-1))
        keep = valid[..., None]
        return audio * keep, frame * keep
