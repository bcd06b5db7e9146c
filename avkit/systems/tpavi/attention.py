# SPDX-License-Identifier: Apache-2.0
"""Temporal pixel-wise audio-visual interaction: every pixel of a clip looks at the sounds of all its steps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TPAVI(nn.Module):
    """Attention of all pixels to all pixels of a clip, whose keys are the sounds of their steps; no softmax.

    With N pixels in T steps, `y = (theta(x) phi(a)^T / N) g(x)`. The product is taken from the right: `phi(a)^T g(x)`
    is one small matrix per clip, and since all pixels of a step have the same key, only the sum of a step's pixels is
    needed for it. Cost is linear in N, and the N by N matrix never exists.

    Args:
        width: Width D of pixels.
        audio: Width of sound.
        bias: Whether the sound's projection has a bias; that of AVSS has none.

    Source:
        Zhou et al., Audio-Visual Segmentation, ECCV 2022; OpenNLPLab/AVSBench at commit f7414aff6aed, `TPAVI.py`.
    """

    def __init__(self, width: int = 256, audio: int = 128, bias: bool = True) -> None:
        super().__init__()
        inner = width // 2
        self.audio = nn.Linear(audio, width, bias=bias)
        self.query, self.key, self.value = (nn.Linear(width, inner) for _ in range(3))
        self.out, self.norm = nn.Linear(inner, width), nn.LayerNorm(width)
        self.scale = nn.BatchNorm1d(width)
        nn.init.zeros_(self.scale.weight)  # begins as the norm alone

    def forward(self, maps: Tensor, audio: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From maps (B, T, D, H, W) and sound (B, T, A) to maps, and the projected sound (B, T, D).

        Where `valid`, bool (B, T), says that there is no step, no pixel looks at it and it does not count; in training
        it is still among what the scale is estimated from.
        """
        heard = self.audio(audio)
        x = maps.permute(0, 1, 3, 4, 2).flatten(1, 3)  # (B, N, D)
        sums = maps.sum((3, 4))
        pixels = maps.shape[3] * maps.shape[4]
        value = F.linear(sums, self.value.weight) + pixels * self.value.bias
        key, count = self.key(heard), torch.full((len(x), 1, 1), x.shape[1], device=x.device)
        if valid is not None:
            key, count = key * valid[..., None], pixels * valid.sum(1)[:, None, None]
        mixed = key.transpose(1, 2) @ value / count
        if self.training:
            y = torch.baddbmm(self.out.bias.expand(len(x), 1, -1), self.query(x), mixed @ self.out.weight.T)
            y = self.scale(y.flatten(0, 1)).view_as(x)
        else:
            y = self._scaled(self.query(x), mixed)
        found = self.norm(y + x)
        return found.unflatten(1, (maps.shape[1], *maps.shape[3:])).permute(0, 1, 4, 2, 3), heard

    def _scaled(self, query: Tensor, mixed: Tensor) -> Tensor:
        """Output and scale by known statistics as one matrix per clip: queries (B, N, D / 2) to (B, N, D)."""
        scale = self.scale
        assert scale.running_mean is not None
        assert scale.running_var is not None
        gain = scale.weight * torch.rsqrt(scale.running_var + scale.eps)
        shift = (self.out.bias - scale.running_mean) * gain + scale.bias
        return torch.baddbmm(shift.expand(len(query), 1, -1), query, mixed @ (self.out.weight * gain[:, None]).T)
