# SPDX-License-Identifier: Apache-2.0
"""Temporal windows, spatial perception and the gate, against the formulas written out."""

import pytest
import torch

from avkit.backbone.attention import Attention, WindowAttention
from avkit.backbone.gate import PromptGate
from avkit.backbone.spatial import SpatialPerception
from avkit.backbone.temporal import TemporalPerception

WIDTH, HEADS = 16, 2


def plain(layer, query, context, valid):
    """Attention over all pairs with a mask, one head at a time, in loops over nothing but heads."""
    steps = query.shape[1]
    q, (k, v) = layer.query(query), layer.key_value(context).chunk(2, -1)
    distance = torch.arange(steps)[None] - torch.arange(steps)[:, None]
    allowed = (distance.abs() <= layer.reach)[None] & valid[:, None] & valid[:, :, None]
    allowed |= torch.eye(steps, dtype=torch.bool)[None]
    heads = []
    size = WIDTH // HEADS
    for h in range(HEADS):
        part = slice(h * size, (h + 1) * size)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / size**0.5
        scores = scores + layer.bias[h][distance.clamp(-layer.reach, layer.reach) + layer.reach]
        heads.append(scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ v[..., part])
    return layer.out(torch.cat(heads, -1))


@pytest.mark.parametrize("steps", [1, 5, 64, 65, 200, 257])
@pytest.mark.parametrize("reach", [1, 3, 70])
def test_windows_equal_the_plain_masked_form(steps, reach):
    torch.manual_seed(steps)
    layer = WindowAttention(WIDTH, HEADS, reach).double().eval()
    torch.nn.init.normal_(layer.bias)
    query, context = torch.randn(2, 3, steps, WIDTH, dtype=torch.float64)
    valid = torch.arange(steps)[None] < torch.tensor([steps, max(1, steps - 3), max(1, steps // 2)])[:, None]
    with torch.no_grad():
        difference = (layer(query, context, valid) - plain(layer, query, context, valid))[valid].abs().max()
    assert difference < 1e-10


def test_windows_tell_before_from_after():
    torch.manual_seed(0)
    layer = WindowAttention(WIDTH, HEADS, 2).eval()
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(1, 9, WIDTH)
    assert not torch.allclose(layer(x, x).flip(1), layer(x.flip(1), x.flip(1)), atol=1e-4)


@pytest.mark.parametrize("windows", [[], [3], [0, 2]])
def test_window_lengths_are_checked(windows):
    with pytest.raises(ValueError, match="even numbers of at least 2"):
        TemporalPerception(WIDTH, HEADS, windows)


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="width 10 is not a multiple of heads 4"):
        Attention(10, 4)


def padded(x, steps):
    return torch.cat([x, torch.randn(x.shape[0], steps - x.shape[1], *x.shape[2:])], 1)


@pytest.mark.parametrize("steps", [7, 70])
def test_padding_changes_nothing(steps):
    torch.manual_seed(1)
    temporal, spatial, gate = TemporalPerception(WIDTH, HEADS), SpatialPerception(WIDTH, HEADS), PromptGate(WIDTH)
    audio, frame, patches = torch.randn(2, steps, WIDTH), torch.randn(2, steps, WIDTH), torch.randn(2, steps, 4, WIDTH)
    prompt, longer = torch.randn(2, WIDTH), steps + 9

    def run(a, v, p, valid):
        a, v = temporal(a, v, valid)
        a, p = spatial(a, p, valid)
        return gate(a, v, p, prompt, valid)

    alone = run(audio, frame, patches, torch.ones(2, steps, dtype=torch.bool))
    valid = torch.arange(longer)[None].expand(2, -1) < steps
    inside = run(padded(audio, longer), padded(frame, longer), padded(patches, longer), valid)
    for one, other in zip(alone, inside, strict=True):
        torch.testing.assert_close(one, other[:, :steps], atol=1e-5, rtol=1e-5)
        assert torch.isfinite(other).all()


def test_audio_to_patch_equals_attention_over_one_key():
    torch.manual_seed(2)
    layer, ordinary = SpatialPerception(WIDTH, HEADS, feed_forward=False), Attention(WIDTH, HEADS)
    value, out = layer.audio_to_patch
    with torch.no_grad():
        ordinary.key_value.weight[WIDTH:] = value.weight
        ordinary.key_value.bias[WIDTH:] = value.bias
        ordinary.out.load_state_dict(out.state_dict())
    audio, patches = torch.randn(1, 3, WIDTH), torch.randn(1, 3, 5, WIDTH)
    own, context = layer.norm_patches(patches[0]), layer.norm_audio(audio[0])[:, None]
    expected = patches[0] + layer.patch_self(own, own)
    expected = expected + ordinary(torch.randn(3, 5, WIDTH), context)  # whatever the query, one key has all the weight
    found = layer(audio, patches, torch.ones(1, 3, dtype=torch.bool))[1]
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)


def test_gate_as_equation_nine_is_written():
    torch.manual_seed(3)
    gate = PromptGate(WIDTH, residual=False)
    audio, frame, patches = torch.randn(1, 4, WIDTH), torch.randn(1, 4, WIDTH), torch.randn(1, 4, 5, WIDTH)
    prompt = torch.randn(1, WIDTH)
    both = torch.cat([audio, frame], 1)
    time = (gate.time(both)[0] @ gate.query_time(prompt)[0] / WIDTH**0.5).softmax(0)
    cells = torch.cat([audio[:, :, None], patches], 2)[0]
    space = (gate.space(cells) @ gate.query_space(prompt)[0] / WIDTH**0.5).softmax(-1)
    a, v, p = gate(audio, frame, patches, prompt, torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(v[0], frame[0] * time[4:, None])
    torch.testing.assert_close(a[0], audio[0] * time[:4, None] * space[:, :1])
    torch.testing.assert_close(p[0], patches[0] * space[:, 1:, None])


def test_residual_gate_keeps_the_scale_of_evenly_weighed_features():
    gate = PromptGate(WIDTH)
    torch.nn.init.zeros_(gate.query_time.weight)
    torch.nn.init.zeros_(gate.query_time.bias)
    frame = torch.randn(1, 4, WIDTH)
    _, v, _ = gate(frame, frame, frame[:, :, None], torch.randn(1, WIDTH), torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(v, 2 * frame)
