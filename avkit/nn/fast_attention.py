# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention with the weights of torch's modules in fewer operations; outputs are equal."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(
    attention: nn.MultiheadAttention, query: Tensor, tokens: Tensor, padded: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What `attention(query, tokens, tokens)` returns, without projecting every token to a key and a value.

    The key projection is applied to the queries and the value projection to the weighted sums of tokens; there are
    fewer queries than tokens. The bias of the keys adds the same number to all scores of a query, which a softmax
    ignores, so it is not read. With one head and many queries the two matrices before the scores are multiplied
    first, and so are the two after them, which halves the projections.

    Args:
        attention: Batch first, with biases.
        query: (N, L, D).
        tokens: (N, M, D).
        padded: bool (N, M), True on padding.

    Returns:
        Attended tokens (N, L, D), and weights (N, L, M), mean over heads; in training after dropout, as torch's are.
    """
    queries = query.shape[0] * query.shape[1]
    if attention.num_heads == 1 and queries > 2 * attention.embed_dim:  # else multiplying the matrices costs more
        return _attend_single_head(attention, query, tokens, padded)
    return _attend_heads(attention, query, tokens, padded)


def _attend_single_head(
    attention: nn.MultiheadAttention, query: Tensor, tokens: Tensor, padded: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attention of one head with its projections multiplied in pairs."""
    query_weight, key_weight, value_weight = attention.in_proj_weight.chunk(3)
    query_bias, _, value_bias = attention.in_proj_bias.chunk(3)
    out = attention.out_proj
    projected = F.linear(query, key_weight.T @ query_weight, query_bias @ key_weight)
    weights, excess = _attention_weights(attention, projected, tokens, padded)
    bias = out.weight @ value_bias
    attended = F.linear(weights @ tokens, out.weight @ value_weight, out.bias + bias)
    if excess is not None:
        attended = attended + excess * bias
    return attended, weights


def _attend_heads(
    attention: nn.MultiheadAttention, query: Tensor, tokens: Tensor, padded: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attention of any number of heads, projections one after the other."""
    heads = attention.num_heads
    query_weight, key_weight, value_weight = attention.in_proj_weight.unflatten(0, (3, heads, -1))
    query_bias, _, value_bias = attention.in_proj_bias.unflatten(0, (3, heads, -1))
    projected = F.linear(query, query_weight.flatten(0, 1), query_bias.flatten()).unflatten(-1, (heads, -1))
    projected = torch.einsum("nlhd,hdw->nhlw", projected, key_weight).flatten(1, 2)
    weights, excess = _attention_weights(attention, projected, tokens, padded)
    pooled = (weights @ tokens).unflatten(1, (heads, -1))
    values = torch.einsum("nhlw,hdw->nlhd", pooled, value_weight) + value_bias
    if excess is not None:
        values = values + excess.unflatten(1, (heads, -1)).transpose(1, 2) * value_bias
    attended = F.linear(values.flatten(2), attention.out_proj.weight, attention.out_proj.bias)
    return attended, weights.unflatten(1, (heads, -1)).mean(1)


def _attention_weights(
    attention: nn.MultiheadAttention, projected: Tensor, tokens: Tensor, padded: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Weights (N, heads L, M) of projected queries (N, heads L, D), after dropout in training.

    Returns:
        The weights, and by how much each row's sum exceeds one, (N, heads L, 1), or None without dropout: the bias of
        the values counts as often as the weights add up to one.
    """
    scale = (attention.embed_dim / attention.num_heads) ** -0.5
    scores = projected @ tokens.mT * scale
    if padded is not None:
        scores = scores.masked_fill(padded[:, None], -torch.inf)
    weights = scores.softmax(-1)
    if not (attention.training and attention.dropout):
        return weights, None
    weights = F.dropout(weights, attention.dropout)
    return weights, weights.sum(-1, keepdim=True) - 1


class EncoderLayer(nn.Module):
    """Torch's transformer encoder layer, post-norm with ReLU, on `attend`; its keys are those of torch's layer.

    Args:
        width: Width D.
        heads: Attention heads.
        inner: Width of the feed-forward layer.
        dropout: Dropout rate in training.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.linear1 = nn.Linear(width, inner)
        self.linear2 = nn.Linear(inner, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        """From tokens (N, M, D) to the same shape; `padded` is bool (N, M), True on padding."""
        attended, _ = attend(self.self_attn, x, x, padded)
        x = self.norm1(x + self.dropout(attended))
        inner = self.dropout(self.linear1(x).relu())
        return self.norm2(x + self.dropout(self.linear2(inner)))
