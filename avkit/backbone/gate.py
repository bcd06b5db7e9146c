# SPDX-License-Identifier: Apache-2.0
"""The prompt's gate: attention of the prompt over steps and patches weighs their features."""

import torch
from torch import Tensor, nn


class PromptGate(nn.Module):
    """Attention of the prompt over time and over patches, used as weights of the features themselves.

    Args:
        width: Width D.
        residual: True multiplies a feature by 1 + n w, with n keys and attention weight w: uniform attention doubles
            frames and patches, and quadruples audio, which both attentions weigh. False multiplies by w alone, as Eq. 9
            is written; features then shrink with the number of keys.

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
        """Weigh the features.

        Args:
            audio: (B, T, D).
            frame: (B, T, D).
            patches: (B, T, P, D).
            prompt: (B, D), the pooled prompt, or the question for `avqa`.
            valid: bool (B, T).

        Returns:
            Weighted audio, frame and patches, in the same shapes.
        """
        steps = audio.shape[1]
        over_time = torch.cat([audio, frame], dim=1)  # (B, 2T, D), Eq. 7
        over_space = torch.cat([audio[:, :, None], patches], dim=2)  # (B, T, P + 1, D)
        time = self._weigh(self.time(over_time), self.query_time(prompt), torch.cat([valid, valid], dim=1))
        space = self._weigh(self.space(over_space), self.query_space(prompt)[:, None], None)
        audio = over_time[:, :steps] * time[:, :steps] * space[:, :, 0]
        return audio, frame * time[:, steps:], patches * space[:, :, 1:]

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
