# SPDX-License-Identifier: Apache-2.0
"""Temporal perception: windows in blocks against one plain T x T mask, padding, and Eq. 1 to 4."""

import pytest
import torch

from avkit.backbone.temporal import TemporalPerception
from avkit.nn.attention import Attention, WindowAttention

WIDTH, HEADS = 16, 2


def window(reach, **options):
    layer = WindowAttention(WIDTH, HEADS, reach, **options).double().eval()
    torch.nn.init.normal_(layer.bias)
    return layer


def plain(layer, query, context, valid):
    """Attention over all pairs of steps under one explicit T x T mask, one head at a time."""
    steps, size = query.shape[1], WIDTH // HEADS
    distance = torch.arange(steps)[None] - torch.arange(steps)[:, None]
    allowed = (distance.abs() <= layer.radius)[None] & valid[:, None] & valid[:, :, None]
    allowed = allowed | torch.eye(steps, dtype=torch.bool)  # padding sees itself, so that no row is empty
    q, (k, v) = layer.query(query), layer.key_value(context).chunk(2, -1)
    heads = []
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / size**0.5
        scores = scores + layer.bias[head][distance.clamp(-layer.radius, layer.radius) + layer.radius]
        weights = torch.where(allowed, scores, -torch.inf).double().softmax(-1)
        heads.append(weights @ v[..., part])
    return layer.out(torch.cat(heads, -1))


def lengths(*steps):
    return torch.arange(max(steps))[None] < torch.tensor(steps)[:, None]


@pytest.mark.parametrize("steps", [1, 5, 64, 65, 200, 257])
@pytest.mark.parametrize("reach", [1, 2, 3, 70])
def test_windows_equal_the_plain_masked_form(steps, reach):
    torch.manual_seed(steps)
    layer = window(reach)
    query, context = torch.randn(2, 3, steps, WIDTH, dtype=torch.float64)
    valid = lengths(steps, max(1, steps - 3), max(1, steps // 2))
    with torch.no_grad():
        found, expected = layer(query, context, valid), plain(layer, query, context, valid)
    assert (found - expected)[valid].abs().max() < 1e-10
    assert torch.isfinite(found).all()


def test_gradients_equal_those_of_the_plain_masked_form():
    torch.manual_seed(0)
    layer, valid = window(3), lengths(130, 70)
    query, context = torch.randn(2, 2, 130, WIDTH, dtype=torch.float64)
    weight = torch.randn(2, 130, WIDTH, dtype=torch.float64)
    names, parameters = zip(*layer.named_parameters(), strict=True)
    ours, theirs = (
        torch.autograd.grad((f(query, context, valid) * weight)[valid].sum(), parameters)
        for f in (layer, lambda *x: plain(layer, *x))
    )
    for name, one, other in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


def test_no_mask_is_a_mask_of_valid_steps():
    torch.manual_seed(1)
    layer, x = window(2), torch.randn(1, 100, WIDTH, dtype=torch.float64)
    assert torch.equal(layer(x, x), layer(x, x, lengths(100)))


@pytest.mark.parametrize("steps", [9, 150])
def test_a_step_sees_its_window_and_nothing_else(steps):
    torch.manual_seed(2)
    layer, x = window(2), torch.randn(1, steps, WIDTH, dtype=torch.float64)
    changed = x.clone()
    changed[:, 4] += 1
    moved = (layer(x, changed) - layer(x, x)).abs().amax((0, 2)) > 1e-9
    assert moved.nonzero().flatten().tolist() == [2, 3, 4, 5, 6]


def test_a_part_far_from_its_ends_is_treated_as_in_the_whole():
    torch.manual_seed(3)
    layer, x = window(3), torch.randn(1, 200, WIDTH, dtype=torch.float64)
    part = x[:, 37:137]
    torch.testing.assert_close(layer(part, part)[:, 3:-3], layer(x, x)[:, 40:134], atol=1e-10, rtol=1e-10)


def test_windows_tell_before_from_after():
    torch.manual_seed(4)
    layer, x = window(2), torch.randn(1, 9, WIDTH, dtype=torch.float64)
    assert not torch.allclose(layer(x, x).flip(1), layer(x.flip(1), x.flip(1)), atol=1e-4)


def test_equations_one_to_four_written_out():
    torch.manual_seed(5)
    module = TemporalPerception(WIDTH, HEADS, [2, 6]).double().eval()
    audio, frame = torch.randn(2, 2, 80, WIDTH, dtype=torch.float64)
    valid = lengths(80, 31)
    a, v = module.norm_audio(audio), module.norm_frame(frame)
    parts_a, parts_v = [a], [v]
    for scale, reach in zip(module.scales, (1, 3), strict=True):
        assert scale.audio_self.radius == reach  # S / 2 neighbours on both sides
        parts_a.append(plain(scale.audio_self, a, a, valid) + plain(scale.audio_cross, a, v, valid))
        parts_v.append(plain(scale.frame_self, v, v, valid) + plain(scale.frame_cross, v, a, valid))
    found_a, found_v = module(audio, frame, valid)
    expected_a = (audio + module.join_audio(torch.cat(parts_a, -1))) * valid[..., None]
    expected_v = (frame + module.join_frame(torch.cat(parts_v, -1))) * valid[..., None]
    torch.testing.assert_close(found_a, expected_a, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(found_v, expected_v, atol=1e-10, rtol=1e-10)


def test_stacked_windows_read_what_the_window_before_made():
    torch.manual_seed(8)
    module = TemporalPerception(WIDTH, HEADS, [2, 6], stacked=True).double().eval()
    audio, frame = torch.randn(2, 2, 20, WIDTH, dtype=torch.float64)
    valid = lengths(20, 11)
    a, v = module.norm_audio(audio), module.norm_frame(frame)
    parts_a, parts_v = [a], [v]
    for scale in module.scales:
        made_a = plain(scale.audio_self, a, a, valid) + plain(scale.audio_cross, a, v, valid)
        made_v = plain(scale.frame_self, v, v, valid) + plain(scale.frame_cross, v, a, valid)
        parts_a.append(made_a)
        parts_v.append(made_v)
        a, v = module.norm_audio(made_a), module.norm_frame(made_v)
    found_a, found_v = module(audio, frame, valid)
    expected_a = (audio + module.join_audio(torch.cat(parts_a, -1))) * valid[..., None]
    expected_v = (frame + module.join_frame(torch.cat(parts_v, -1))) * valid[..., None]
    torch.testing.assert_close(found_a, expected_a, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(found_v, expected_v, atol=1e-10, rtol=1e-10)


def test_depth_puts_modules_one_behind_the_other():
    torch.manual_seed(9)
    deep = TemporalPerception(WIDTH, HEADS, [2], depth=2).double().eval()
    flat = TemporalPerception(WIDTH, HEADS, [2]).double().eval()
    flat.load_state_dict({key: value for key, value in deep.state_dict().items() if not key.startswith("deeper.")})
    audio, frame = torch.randn(2, 2, 9, WIDTH, dtype=torch.float64)
    valid = lengths(9, 4)
    torch.testing.assert_close(deep(audio, frame, valid), deep.deeper[0](*flat(audio, frame, valid), valid))


@pytest.mark.parametrize("steps", [7, 64, 70])
def test_padding_changes_no_valid_step(steps):
    torch.manual_seed(6)
    module = TemporalPerception(WIDTH, HEADS).double().eval()
    longer = steps + 100  # alone in one piece, padded in blocks
    audio, frame = torch.randn(2, 2, longer, WIDTH, dtype=torch.float64)
    alone = module(audio[:, :steps], frame[:, :steps], lengths(steps, steps))
    padded = module(audio, frame, lengths(steps, longer)[[0, 0]])
    for one, other in zip(alone, padded, strict=True):
        torch.testing.assert_close(one, other[:, :steps], atol=1e-10, rtol=1e-10)
        assert (other[:, steps:] == 0).all()


@pytest.mark.parametrize("steps", [6, 140])
def test_nothing_is_nan_behind_the_end(steps):
    torch.manual_seed(7)
    module = TemporalPerception(WIDTH, HEADS)
    audio, frame = torch.randn(2, 3, steps, WIDTH, requires_grad=True)
    valid = lengths(steps, 1, 0)  # the last clip is padding alone
    out = torch.cat(module(audio, frame, valid))
    out.square().sum().backward()
    assert torch.isfinite(out).all()
    for name, p in module.named_parameters():
        assert torch.isfinite(p.grad).all(), name


@pytest.mark.parametrize("windows", [[], [3], [0, 2], [-2]])
def test_window_lengths_are_checked(windows):
    with pytest.raises(ValueError, match=r"even numbers of at least 2 steps, got \["):
        TemporalPerception(WIDTH, HEADS, windows)


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="width 10 is not a multiple of heads 4"):
        Attention(10, 4)
