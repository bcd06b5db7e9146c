# SPDX-License-Identifier: Apache-2.0
"""Attention with the weights of torch's modules in fewer operations; the numbers stay."""

import torch
from torch import Tensor, nn


def attend(
    attention: nn.MultiheadAttention, query: Tensor, tokens: Tensor, padded: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What `attention(query, tokens, tokens)` gives, without projecting every token to a key and a value.

    What a query asks is projected to what it asks of a token, and what is found to its value: both are of queries, of
    which there are fewer than tokens. With one head and many rows the matrices before and after are multiplied first,
    which halves the projections. A key's bias adds the same to all tokens of a softmax, so it is not read.

    Args:
        attention: Batch first, with biases.
        query: (N, L, D).
        tokens: (N, M, D).
        padded: bool (N, M), True on tokens that are none.

    Returns:
        What was found, (N, L, D), and weights (N, L, M), mean over heads; in training after dropout, as torch's are.
    """
    heads, width = attention.num_heads, attention.embed_dim
    of_query, of_key, of_value = attention.in_proj_weight.unflatten(0, (3, heads, -1))
    query_bias, _, value_bias = attention.in_proj_bias.unflatten(0, (3, heads, -1))
    out, out_bias = attention.out_proj.weight, attention.out_proj.bias
    whole = heads == 1 and query.shape[0] * query.shape[1] > 2 * width  # or else the products of matrices cost more

    if whole:
        asked = nn.functional.linear(query, of_key[0].T @ of_query[0], query_bias[0] @ of_key[0])
    else:
        asked = nn.functional.linear(query, of_query.flatten(0, 1), query_bias.flatten()).unflatten(-1, (heads, -1))
        asked = torch.einsum("nlhd,hdw->nhlw", asked, of_key).flatten(1, 2)
    match = asked @ tokens.mT * (width / heads) ** -0.5  # (N, heads L, M)
    if padded is not None:
        match = match.masked_fill(padded[:, None], -torch.inf)
    weights, lack = match.softmax(-1), None
    if attention.training and attention.dropout:
        weights = nn.functional.dropout(weights, attention.dropout)
        lack = weights.sum(-1, keepdim=True) - 1  # a value's bias counts as often as its weights add up to
    found = weights @ tokens
    if whole:
        bias = out @ value_bias[0]
        found = nn.functional.linear(found, out @ of_value[0], out_bias + bias)
        return found if lack is None else found + lack * bias, weights
    values = torch.einsum("nhlw,hdw->nlhd", found.unflatten(1, (heads, -1)), of_value) + value_bias
    if lack is not None:
        values = values + lack.unflatten(1, (heads, -1)).transpose(1, 2) * value_bias
    return nn.functional.linear(values.flatten(2), out, out_bias), weights.unflatten(1, (heads, -1)).mean(1)


class EncoderLayer(nn.TransformerEncoderLayer):
    """Torch's layer, post-norm with a rectifier, on `attend`.

    Args:
        width: Width D.
        heads: Attention heads.
        inner: Width of the feed-forward layer.
        dropout: In training.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__(width, heads, inner, dropout, batch_first=True)

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Tokens (N, M, D) to the same; `padded` is bool (N, M), True on tokens that are none."""
        x = self.norm1(x + self.dropout1(attend(self.self_attn, x, x, padded)[0]))
        found: Tensor = self.norm2(x + self.dropout2(self.linear2(self.dropout(self.linear1(x).relu()))))
        return found
