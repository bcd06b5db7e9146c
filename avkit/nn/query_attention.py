# SPDX-License-Identifier: Apache-2.0
"""A query that attends to tokens, and the selection of the steps that match a query best."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.nn.fast_attention import attend


class QueryAttention(nn.Module):
    """Cross-attention of a query to tokens, then `x + MLP(x)` and a norm; there is no residual from the query.

    Args:
        width: Width D.
        heads: Attention heads.
        dropout: Dropout rate in training.

    Source:
        GeWu-Lab/MUSIC-AVQA at commit cc8809514a2e, `net_grd_avst/net_avst.py`; PSTP-Net and TSPM do the same.
    """

    def __init__(self, width: int, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, tokens: Tensor, padded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attend to tokens.

        Args:
            query: (N, L, D).
            tokens: (N, M, D).
            padded: bool (N, M), True on padding.

        Returns:
            Attended tokens (N, L, D), and attention weights (N, L, M), mean over heads.
        """
        x, weights = attend(self.attention, query, tokens, padded)
        inner = self.dropout(self.first(x).relu())
        x = x + self.dropout(self.second(inner))
        return self.norm(x), weights


def query_attention_names(
    ours: str, official: str, linear: str, norm: str, attention: str = "attn_qst_query"
) -> dict[str, str]:
    """Official prefix by our prefix of the weights of a `QueryAttention`.

    Args:
        ours: Our name of the module.
        official: The authors' name of the module that holds it, with a dot at the end, or empty.
        linear: Their name of both linear layers, with `{}` for the number.
        norm: Their name of the norm.
        attention: Their name of the attention.
    """
    return {
        f"{ours}.attention.": f"{official}{attention}.",
        f"{ours}.first.": f"{official}{linear.format(1)}.",
        f"{ours}.second.": f"{official}{linear.format(2)}.",
        f"{ours}.norm.": f"{official}{norm}.",
    }


class KeySteps(nn.Module):
    """Selects the steps whose pictures match a query best, in temporal order.

    Only attention weights are computed; the value and output projections exist because the official weights have them,
    and are not read.

    Args:
        width: Width D.
        heads: Attention heads; weights are their mean.
        dropout: Dropout rate of the weights in training, which makes the selection noisy, as the authors' is.

    Source:
        GeWu-Lab/TSPM at commit 0106ce4127b8, `TemporalPerception`.
    """

    def __init__(self, width: int, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.dropout = dropout

    def attention_weights(self, query: Tensor, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """Attention weights (B, heads, T) of queries.

        Args:
            query: (B, D).
            tokens: (B, T, D).
            valid: bool (B, T); all where None.
        """
        heads = self.attention.num_heads
        width = query.shape[-1]
        weight = self.attention.in_proj_weight
        bias = self.attention.in_proj_bias
        projected = F.linear(query, weight[:width], bias[:width]).unflatten(-1, (heads, -1))
        key_weight = weight[width : 2 * width].unflatten(0, (heads, -1))
        projected = torch.einsum("bhd,hdw->bhw", projected / projected.shape[-1] ** 0.5, key_weight)
        scores = projected @ tokens.mT
        if valid is not None:
            scores = scores.masked_fill(~valid[:, None], -torch.inf)
        return scores.softmax(-1)

    def forward(self, query: Tensor, tokens: Tensor, count: int, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Select steps.

        Args:
            query: (B, D).
            tokens: (B, T, D).
            count: Steps to select, at most T.
            valid: bool (B, T); all where None. Where a row has fewer than `count` valid steps, invalid ones are
                selected too.

        Returns:
            Weights (B, T), mean over heads, with gradient and without dropout, and the indices of the selected steps,
            int64 (B, count), rising.
        """
        weights = self.attention_weights(query, tokens, valid)
        noisy = F.dropout(weights, self.dropout, self.training) if self.dropout else weights
        return weights.mean(1), largest_steps(noisy.mean(1), count, valid)


def largest_steps(weights: Tensor, count: int, valid: Tensor | None = None) -> Tensor:
    """Indices of the steps of largest weight, int64 (B, count), rising.

    Args:
        weights: How much each step matters, (B, T), not below 0.
        count: Steps to select, at most T.
        valid: bool (B, T); all where None. Steps of weight zero rank before steps that are not valid.
    """
    if valid is not None:
        weights = weights.masked_fill(~valid, -1)
    return weights.topk(count, -1).indices.sort(-1).values


def check_step_count(count: int, steps: int, valid: Tensor | None = None) -> None:
    """Check that every clip has enough steps to select from.

    Args:
        count: Steps to select.
        steps: Steps T of the clips.
        valid: bool (C, T); all where None.

    Raises:
        ValueError: If a clip has fewer than `count` valid steps.
    """
    if valid is not None and not torch.compiler.is_compiling():  # a traced graph has no values
        steps = int(valid.sum(1).min())
    if count > steps:
        raise ValueError(
            f"{count} steps are to be chosen, and a clip has {steps}. Set topk to {steps} or less "
            "(--model.system.topk), or leave short clips out."
        )
