# SPDX-License-Identifier: Apache-2.0
"""Attention in fewer operations equals torch's: outputs, gradients, padding, dropout."""

import pytest
import torch
from torch import nn

from avkit.nn.fast_attention import EncoderLayer, attend


def attention_of(heads, width, dropout=0.0):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True).double()
    for bias in (attention.in_proj_bias, attention.out_proj.bias):
        nn.init.normal_(bias)
    return attention


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize(("heads", "rows"), [(1, 3), (1, 40), (4, 1), (4, 40)])  # 40 rows: products of matrices
def test_it_is_torchs_with_gradients(heads, rows, padding):
    attention = attention_of(heads, 8)
    draw = torch.Generator().manual_seed(1)
    inputs = [torch.randn(2, n, 8, dtype=torch.float64, generator=draw) for n in (rows, 5)]
    padded = torch.tensor([[False] * 3 + [True] * 2, [False] * 5]) if padding else None
    results = []
    for ours in (True, False):
        attention.zero_grad()
        query, tokens = (x.clone().requires_grad_() for x in inputs)
        if ours:
            out, weights = attend(attention, query, tokens, padded)
        else:
            out, weights = attention(query, tokens, tokens, key_padding_mask=padded)
        (out.square().sum() + weights.square().sum()).backward()
        results.append([out, weights, query.grad, tokens.grad, *(p.grad.clone() for p in attention.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("heads", "rows"), [(1, 3), (1, 40), (2, 40)])
def test_dropout_is_of_weights_and_counts_a_values_bias_as_torch_does(heads, rows):
    """With all weights dropped only the last bias is left; else the output is made of the weights that are returned."""
    attention = attention_of(heads, 8, 0.5).train()
    query, tokens = torch.randn(1, rows, 8).double(), torch.randn(1, 1 + (heads == 1), 8).double()
    torch.manual_seed(2)
    out, weights = attend(attention, query, tokens)
    dropped = (weights == 0).all(-1)
    assert dropped.any()
    assert torch.allclose(out[dropped], attention.out_proj.bias)
    if heads == 1:  # weights are returned as means over heads
        values = nn.functional.linear(tokens, attention.in_proj_weight[16:], attention.in_proj_bias[16:])
        torch.testing.assert_close(out, attention.out_proj(weights @ values))


@pytest.mark.parametrize("mode", [True, False])
def test_a_layer_is_torchs(mode):
    torch.manual_seed(0)
    ours = EncoderLayer(8, 1, 16, 0.0).train(mode)
    theirs = nn.TransformerEncoderLayer(8, 1, 16, 0.0, batch_first=True).train(mode)
    theirs.load_state_dict(ours.state_dict())
    x, padded = torch.randn(3, 10, 8), torch.arange(10)[None] >= torch.tensor([[10], [4], [1]])
    output, expected = ours(x, padded), theirs(x, src_key_padding_mask=padded)
    torch.testing.assert_close(output[~padded], expected[~padded], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-5)
