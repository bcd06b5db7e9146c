# SPDX-License-Identifier: Apache-2.0
"""When and where a token stands, as sinusoids."""

import torch
import torch.nn.functional as F
from torch import Tensor


def time_code(like: Tensor) -> Tensor:
    """Sinusoids over the step's number for features (B, T, D): (T, D), base 10000, of unit variance."""
    _, steps, width = like.shape
    rate = 10_000 ** (-torch.arange(0, width, 2, device=like.device, dtype=torch.float32) / width)
    angle = torch.arange(steps, device=like.device)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width].to(like.dtype)


def grid_code(grid: tuple[int, int], like: Tensor) -> Tensor:
    """Sinusoids over row and column in [0, 1], half the width each, (P, D); alike for any number of patches."""
    width = like.shape[-1]
    rows, columns = ((torch.arange(n, device=like.device) + 0.5) / n for n in grid)
    rate = 2.0 ** torch.linspace(0, 4, width // 4, device=like.device) * torch.pi

    def code(x: Tensor) -> Tensor:
        return torch.cat([(x[:, None] * rate).sin(), (x[:, None] * rate).cos()], dim=-1)

    r, c = code(rows)[:, None].expand(-1, grid[1], -1), code(columns)[None].expand(grid[0], -1, -1)
    out = torch.cat([r, c], dim=-1).flatten(0, 1).to(like.dtype)
    return F.pad(out, (0, width - out.shape[1]))
