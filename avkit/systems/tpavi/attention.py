# SPDX-License-Identifier: Apache-2.0
"""Temporal pixel-wise audio-visual interaction: every pixel of a clip attends to the audio of all its steps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PixelAudioAttention(nn.Module):
    """Attention of all pixels to all pixels of a clip, with the audio of their steps as keys and without a softmax.

    With N pixels in T steps, `y = (theta(x) phi(a)^T / N) g(x)`. The product is evaluated from the right: `phi(a)^T
    g(x)` is one small matrix per clip, and since all pixels of a step have the same key, only the sum of a step's
    pixels is needed for it. Cost is linear in N, and the N by N matrix never exists.

    Args:
        width: Width D of pixels.
        audio: Width of audio features.
        bias: Whether the audio projection has a bias; that of AVSS has none.

    Source:
        Zhou et al., Audio-Visual Segmentation, ECCV 2022; OpenNLPLab/AVSBench at commit f7414aff6aed, `TPAVI.py`.
    """

    def __init__(self, width: int = 256, audio: int = 128, bias: bool = True) -> None:
        super().__init__()
        inner = width // 2
        self.audio = nn.Linear(audio, width, bias=bias)
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width)
        self.scale = nn.BatchNorm1d(width)
        nn.init.zeros_(self.scale.weight)  # training starts from the norm alone

    def forward(self, maps: Tensor, audio: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From maps (B, T, D, H, W) and audio (B, T, A) to maps, and the projected audio (B, T, D).

        No pixel attends to steps that are not `valid`, bool (B, T), and they do not count; in training they still enter
        the statistics of the scale.
        """
        projected = self.audio(audio)
        x = maps.permute(0, 1, 3, 4, 2).flatten(1, 3)  # (B, N, D)
        pixels = maps.shape[3] * maps.shape[4]
        value = F.linear(maps.sum((3, 4)), self.value.weight) + pixels * self.value.bias
        key = self.key(projected)
        count = torch.full((len(x), 1, 1), x.shape[1], device=x.device)
        if valid is not None:
            key = key * valid[..., None]
            count = pixels * valid.sum(1)[:, None, None]
        context = key.transpose(1, 2) @ value / count
        if self.training:
            y = torch.baddbmm(self.out.bias.expand(len(x), 1, -1), self.query(x), context @ self.out.weight.T)
            y = self.scale(y.flatten(0, 1)).view_as(x)
        else:
            y = self._scaled(self.query(x), context)
        mixed = self.norm(y + x).unflatten(1, (maps.shape[1], *maps.shape[3:]))
        return mixed.permute(0, 1, 4, 2, 3), projected

    def _scaled(self, query: Tensor, context: Tensor) -> Tensor:
        """Output layer and scale by running statistics as one matrix per clip: queries (B, N, D / 2) to (B, N, D)."""
        scale = self.scale
        assert scale.running_mean is not None
        assert scale.running_var is not None
        gain = scale.weight * torch.rsqrt(scale.running_var + scale.eps)
        shift = (self.out.bias - scale.running_mean) * gain + scale.bias
        return torch.baddbmm(shift.expand(len(query), 1, -1), query, context @ (self.out.weight * gain[:, None]).T)
