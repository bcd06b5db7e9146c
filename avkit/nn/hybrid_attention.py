# SPDX-License-Identifier: Apache-2.0
"""Audio and visual features that attend to themselves and to each other with shared weights."""

import torch
from torch import Tensor, nn

from avkit.nn.fast_attention import attend


class HybridAttention(nn.Module):
    """Each modality attends to itself and to the other with the same weights; post-norm.

    Both modalities are computed as one batch.

    Args:
        width: Width D.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        dropout: Dropout rate in training.

    Source:
        YapengTian/AVVP-ECCV20 at commit fde56118f2c2, `nets/net_audiovisual.py`; GeWu-Lab/TSPM at commit 0106ce4127b8,
        `nets/net.py`.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.across = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.within = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.first = nn.Linear(width, inner)
        self.second = nn.Linear(inner, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, audio: Tensor, visual: Tensor, padded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From audio and visual features, (B, T, D) each, to the same; `padded` is bool (B, T), True on padding."""
        x = torch.cat([audio, visual])
        other = torch.cat([visual, audio])
        padded = None if padded is None else torch.cat([padded, padded])
        across, _ = attend(self.across, x, other, padded)
        within, _ = attend(self.within, x, x, padded)
        x = self.norms[0](x + self.dropout(across) + self.dropout(within))
        inner = self.dropout(self.first(x).relu())
        x = self.norms[1](x + self.dropout(self.second(inner)))
        audio, visual = x.chunk(2)
        return audio, visual


def hybrid_attention_names(ours: str, official: str) -> dict[str, str]:
    """Official prefix by our prefix of the weights of a `HybridAttention`.

    Args:
        ours: Our name of the module.
        official: The authors' name of it.
    """
    return {
        f"{ours}.across.": f"{official}.cm_attn.",
        f"{ours}.within.": f"{official}.self_attn.",
        f"{ours}.first.": f"{official}.linear1.",
        f"{ours}.second.": f"{official}.linear2.",
        f"{ours}.norms.0.": f"{official}.norm1.",
        f"{ours}.norms.1.": f"{official}.norm2.",
    }
