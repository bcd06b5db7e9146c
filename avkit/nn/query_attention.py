# SPDX-License-Identifier: Apache-2.0
"""A question, or a sound, that reads tokens, and the choice of the steps that matter to it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.nn.fast_attention import attend


class Querying(nn.Module):
    """What a query finds among tokens: attention, `x + MLP(x)`, norm. Nothing of the query itself stays.

    Args:
        width: Width D.
        heads: Attention heads.
        dropout: In training.

    Source:
        GeWu-Lab/MUSIC-AVQA at commit cc8809514a2e, `net_grd_avst/net_avst.py`; PSTP-Net and TSPM do the same.
    """

    def __init__(self, width: int, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)

    def forward(
        self, query: Tensor, tokens: Tensor, padded: Tensor | None = None, weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Read tokens.

        Args:
            query: (N, L, D).
            tokens: (N, M, D).
            padded: bool (N, M), True on tokens that are none.
            weights: Tell how much each token counted.

        Returns:
            What was found, (N, L, D), and weights (N, L, M), mean over heads, or None.
        """
        found, told = attend(self.attention, query, tokens, padded)
        found = found + self.dropout(self.second(self.dropout(self.first(found).relu())))
        return self.norm(found), told if weights else None


class KeySteps(nn.Module):
    """The steps whose pictures match a query best, in the order of time.

    Only the weights of an attention are needed: its values and output have weights, which nothing reads.

    Args:
        width: Width D.
        heads: Attention heads; weights are their mean.
        dropout: In training, of the weights: the choice is then a noisy one, as the authors' is.

    Source:
        GeWu-Lab/TSPM at commit 0106ce4127b8, `TemporalPerception`.
    """

    def __init__(self, width: int, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.dropout = dropout

    def weigh(self, query: Tensor, tokens: Tensor, clip: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
        """How much each step counts, (B, heads, T), of queries (B, D) on tokens (C, T, D).

        Args:
            query: One per sample.
            tokens: One row per clip.
            clip: Clip of each sample, (B,), where clips are shared.
            valid: bool (C, T).
        """
        heads, width = self.attention.num_heads, query.shape[-1]
        weight, bias = self.attention.in_proj_weight, self.attention.in_proj_bias
        asked = F.linear(query, weight[:width], bias[:width]).unflatten(-1, (heads, -1))
        asked = torch.einsum(
            "bhd,hdw->bhw", asked / asked.shape[-1] ** 0.5, weight[width : 2 * width].unflatten(0, (heads, -1))
        )
        match = asked @ (tokens if clip is None else tokens[clip]).mT
        if valid is not None:
            match = match.masked_fill(~(valid if clip is None else valid[clip])[:, None], -torch.inf)
        return match.softmax(-1)

    def forward(
        self, query: Tensor, tokens: Tensor, count: int, clip: Tensor | None = None, valid: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Choose steps.

        Returns:
            Weights (B, T), mean over heads, with gradient, and the numbers of the `count` chosen steps, int64
            (B, count), rising.

        Raises:
            ValueError: If a clip has fewer steps.
        """
        steps = int(valid.sum(1).min()) if valid is not None else tokens.shape[1]
        if count > steps:
            raise ValueError(
                f"{count} steps are to be chosen, and a clip has {steps}. Set topk to {steps} or less "
                "(--model.system.topk), or leave short clips out."
            )
        weights = self.weigh(query, tokens, clip, valid)
        noisy = F.dropout(weights, self.dropout, self.training) if self.dropout else weights
        likely = noisy.mean(1)
        if valid is not None:  # what dropout left at zero still goes before what is not there
            likely = likely.masked_fill(~(valid if clip is None else valid[clip]), -1)
        return weights.mean(1), likely.topk(count, -1).indices.sort(-1).values
