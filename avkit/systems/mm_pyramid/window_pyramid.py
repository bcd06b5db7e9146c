# SPDX-License-Identifier: Apache-2.0
"""Attention in ever wider windows, level after level, and a choice among the levels: MM-Pyramid."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.nn.matmul_conv import Conv3


class WindowLayer(nn.Module):
    """Attention to context and a feed-forward layer; only the query is normalised.

    Args:
        width: Width D.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        dropout: Of the results of both parts and within the feed-forward layer; attention itself drops half of it.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.first, self.second = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, query: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """From (N, L, D) and (N, M, D) to (N, L, D); `mask` is bool, broadcastable to (N, h, L, M), True where seen."""
        drop = self.dropout if self.training else 0.0
        given = (self.query(self.norms[0](query)), self.key(context), self.value(context))
        q, k, v = (rearrange(x, "n l (h d) -> n h l d", h=self.heads) for x in given)
        x = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=drop / 2)
        x = query + F.dropout(self.out(rearrange(x, "n h l d -> n l (h d)")), drop)
        inner = self.second(F.dropout(self.first(self.norms[1](x)).relu(), drop))
        return x + F.dropout(inner, drop)


class DilatedResidual(nn.Module):
    """Convolution over three steps `dilation` apart, and over one, around a residual.

    Args:
        width: Channels.
        dilation: Steps between what is seen.
    """

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.first, self.second = Conv3(width, width, dilation=dilation), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """From (B, T, D) to the same."""
        return (x + self.second(self.first(x).relu())).relu()


class WindowLevel(nn.Module):
    """One level: attention within and across modalities in a window, a gate between the two, a dilated convolution.

    Args:
        width: Width D.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        reach: Steps to both sides that are seen, and the dilation.
        dropout: See `WindowLayer`.
    """

    def __init__(self, width: int, heads: int, inner: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.reach = reach
        self.visual, self.audio, self.across = (WindowLayer(width, heads, inner, dropout) for _ in range(3))
        self.visual_gates, self.audio_gates = (
            nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2)) for _ in range(2)
        )
        self.visual_conv, self.audio_conv = DilatedResidual(width, reach), DilatedResidual(width, reach)

    def forward(self, visual: Tensor, audio: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From (B, T, D) twice to the same; `valid` is bool (B, T)."""
        places = torch.arange(visual.shape[1], device=visual.device)
        near = (places - places[:, None]).abs() <= self.reach
        mask = near[None, None]
        if valid is not None:
            mask = mask & valid[:, None, None] | torch.eye(len(places), dtype=torch.bool, device=visual.device)
        both, other = torch.cat([visual, audio]), torch.cat([audio, visual])
        across_v, across_a = self.across(both, other, mask if len(mask) == 1 else torch.cat([mask, mask])).chunk(2)
        v = _gated(self.visual(visual, visual, mask), across_v, self.visual_gates)
        a = _gated(self.audio(audio, audio, mask), across_a, self.audio_gates)
        if valid is not None:
            v, a = v * valid[..., None], a * valid[..., None]
        return self.visual_conv(v), self.audio_conv(a)


def _gated(within: Tensor, across: Tensor, gates: nn.ModuleList) -> Tensor:
    both = torch.cat([within, across], -1)
    return gates[0](both).sigmoid() * within + gates[1](both).sigmoid() * across


class LevelChoice(nn.Module):
    """What the levels of one modality come to: they attend to each other at every step, and are weighed.

    Args:
        width: Width D.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        dropout: See `WindowLayer`.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.layer, self.weight = WindowLayer(width, heads, inner, dropout), nn.Linear(width, 1)

    def forward(self, levels: Tensor) -> Tensor:
        """From (B, T, levels, D) to (B, T, D)."""
        x = levels.flatten(0, 1)
        x = self.layer(x, x)
        return (x * self.weight(x).sigmoid()).sum(1).unflatten(0, levels.shape[:2])


class WindowPyramid(nn.Module):
    """Levels whose windows double, and a choice among them.

    Args:
        width: Width D.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        levels: Number of levels; level i sees 2^i steps to both sides.
        dropout: See `WindowLayer`.

    Source:
        JustinYuu/MM_Pyramid at commit 1c641a5f3302, `nets/MPAM.py` and `nets/Transformer.py`.
    """

    def __init__(self, width: int, heads: int = 8, inner: int = 512, levels: int = 4, dropout: float = 0.2) -> None:
        super().__init__()
        self.levels = nn.ModuleList(WindowLevel(width, heads, inner, 2**i, dropout) for i in range(levels))
        self.visual = LevelChoice(width, heads, inner, dropout)
        self.audio = LevelChoice(width, heads, inner, dropout)

    def capture(self, visual: Tensor, audio: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All levels of both modalities, (B, T, levels, D)."""
        visual_levels = []
        audio_levels = []
        for level in self.levels:
            visual, audio = level(visual, audio, valid)
            visual_levels.append(visual)
            audio_levels.append(audio)
        return torch.stack(visual_levels, 2), torch.stack(audio_levels, 2)

    def forward(self, visual: Tensor, audio: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From (B, T, D) twice to the same; `valid` is bool (B, T)."""
        visual_levels, audio_levels = self.capture(visual, audio, valid)
        return self.visual(visual_levels), self.audio(audio_levels)
