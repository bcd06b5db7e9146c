# SPDX-License-Identifier: Apache-2.0
"""The prompt's gate: attention of the prompt over steps and patches weighs their features."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class GateFactors:
    """What the gate multiplies features with.

    Attributes:
        audio_time: Of the audio, over time, (B, T, 1).
        frame: Of the frames, over time, (B, T, 1).
        audio_space: Of the audio, among audio and patches of its step, (B, T, 1).
        patches: Of the patches, (B, T, P, 1).
    """

    audio_time: Tensor
    frame: Tensor
    audio_space: Tensor
    patches: Tensor

    def weigh(self, audio: Sequence[Tensor], frame: Tensor, patches: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Weighted audio streams, frame and patches (Eq. 9), in the same shapes.

        Args:
            audio: One stream (B, T, D), weighed over time and over space; or those of the temporal module, weighed over
                time, and of the spatial module, weighed over space.
            frame: (B, T, D).
            patches: (B, T, P, D).
        """
        if len(audio) == 1:
            streams = [audio[0] * self.audio_time * self.audio_space]
        else:
            temporal, spatial = audio
            streams = [temporal * self.audio_time, spatial * self.audio_space]
        return streams, frame * self.frame, patches * self.patches


class PromptGate(nn.Module):
    """Attention of the prompt over time and over patches, used as weights of the features themselves.

    Args:
        width: Width D.
        residual: True multiplies a feature by 1 + n w, with n keys and attention weight w. Features grow: uniform
            attention (w = 1/n) doubles frames and patches, and quadruples one audio stream that both attentions weigh.
            False multiplies by w alone, as Eq. 9 is written; features then shrink to 1/n of their size.

    Source:
        AV-Unified, section III-D, Eq. 7 to 9.
    """

    def __init__(self, width: int, residual: bool = True) -> None:
        super().__init__()
        self.residual = residual
        self.time = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.space = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.query_time = nn.Linear(width, width)
        self.query_space = nn.Linear(width, width)

    def forward(
        self, audio: Tensor, frame: Tensor, patches: Tensor, prompt: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Weigh the features, with one audio stream.

        Args:
            audio: (B, T, D).
            frame: (B, T, D).
            patches: (B, T, P, D).
            prompt: (B, D), the pooled prompt, or the question for `avqa`.
            valid: bool (B, T).

        Returns:
            Weighted audio, frame and patches, in the same shapes.
        """
        factors = self.factors(audio, frame, audio, patches, prompt, valid)
        streams, frame, patches = factors.weigh([audio], frame, patches)
        return streams[0], frame, patches

    def factors(
        self,
        temporal_audio: Tensor,
        frame: Tensor,
        spatial_audio: Tensor,
        patches: Tensor,
        prompt: Tensor,
        valid: Tensor,
    ) -> GateFactors:
        """The factors of all features.

        Args:
            temporal_audio: Audio of the temporal module, (B, T, D), whose keys stand beside those of the frames.
            frame: (B, T, D).
            spatial_audio: Audio of the spatial module, (B, T, D), whose keys stand beside those of the patches.
            patches: (B, T, P, D).
            prompt: (B, D).
            valid: bool (B, T).
        """
        steps = frame.shape[1]
        over_time = torch.cat([temporal_audio, frame], dim=1)  # (B, 2T, D), Eq. 7
        over_space = torch.cat([spatial_audio[:, :, None], patches], dim=2)  # (B, T, P + 1, D)
        time = self._weigh(self.time(over_time), self.query_time(prompt), torch.cat([valid, valid], dim=1))
        space = self._weigh(self.space(over_space), self.query_space(prompt)[:, None], None)
        return GateFactors(time[:, :steps], time[:, steps:], space[:, :, 0], space[:, :, 1:])

    def _weigh(self, keys: Tensor, query: Tensor, valid: Tensor | None) -> Tensor:
        """Factors (..., n, 1) for n keys (..., n, D), from the attention of a query (..., D) to them."""
        scores = (keys @ query[..., None])[..., 0] / keys.shape[-1] ** 0.5
        count: Tensor | int = keys.shape[-2]
        if valid is not None:
            scores = scores.masked_fill(~valid, -torch.inf)
            count = valid.sum(-1, keepdim=True)
        weights = scores.softmax(-1)
        if self.residual:
            weights = 1 + count * weights
        return weights[..., None]
