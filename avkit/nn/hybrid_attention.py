# SPDX-License-Identifier: Apache-2.0
"""Sound and sight that each look at themselves and at the other, with the same weights."""

import torch
from torch import Tensor, nn

from avkit.nn.fast_attention import attend


class HybridAttention(nn.Module):
    """Each modality attends to itself and to the other with the same weights; post-norm.

    Both modalities go through as one batch.

    Args:
        width: Width D.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        dropout: In training.

    Source:
        YapengTian/AVVP-ECCV20 at commit fde56118f2c2, `nets/net_audiovisual.py`; GeWu-Lab/TSPM at commit 0106ce4127b8,
        `nets/net.py`.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.across, self.within = (
            nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True) for _ in range(2)
        )
        self.first, self.second = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, audio: Tensor, visual: Tensor, padded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From (B, T, D) twice to the same; `padded` is bool (B, T), True where there is nothing."""
        x, other = torch.cat([audio, visual]), torch.cat([visual, audio])
        away = None if padded is None else torch.cat([padded, padded])
        across, within = attend(self.across, x, other, away)[0], attend(self.within, x, x, away)[0]
        x = self.norms[0](x + self.dropout(across) + self.dropout(within))
        x = self.norms[1](x + self.dropout(self.second(self.dropout(self.first(x).relu()))))
        heard, seen = x.chunk(2)
        return heard, seen
