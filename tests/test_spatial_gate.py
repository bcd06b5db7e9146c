# SPDX-License-Identifier: Apache-2.0
"""Spatial perception and the prompt's gate, against Eq. 5 to 9 written out."""

import pytest
import torch

from avkit.backbone.gate import PromptGate
from avkit.backbone.spatial import SpatialPerception
from avkit.nn.attention import Attention

WIDTH, HEADS, STEPS, CELLS = 16, 2, 4, 5


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


def clips(steps=STEPS):
    audio, frame = torch.randn(2, 2, steps, WIDTH, dtype=torch.float64)
    return audio, frame, torch.randn(2, steps, CELLS, WIDTH, dtype=torch.float64)


def everywhere(steps=STEPS):
    return torch.ones(2, steps, dtype=torch.bool)


def attend(layer, query, context):
    """Attention of one query set (L, D) to one context (M, D), head by head."""
    size, heads = WIDTH // HEADS, []
    q, (k, v) = layer.query(query), layer.key_value(context).chunk(2, -1)
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        heads.append((q[:, part] @ k[:, part].T / size**0.5).softmax(-1) @ v[:, part])
    return layer.out(torch.cat(heads, -1))


@pytest.mark.parametrize("feed_forward", [False, True])
def test_equations_five_and_six_written_out(feed_forward):
    torch.manual_seed(0)
    module = SpatialPerception(WIDTH, HEADS, feed_forward=feed_forward).double()
    audio, _, patches = clips()
    found_audio, found_patches = module(audio, patches, everywhere())
    for b in range(2):
        for t in range(STEPS):
            sound = module.norm_audio(audio[b, t])[None]
            normed = module.norm_patches(patches[b, t])
            mixed = patches[b, t] + attend(module.patch_self, normed, normed)
            guided = mixed + module.audio_to_patch(sound)
            if feed_forward:
                guided = guided + module.feed_forward(guided)
            close(found_patches[b, t], guided)
            heard = attend(module.patch_to_audio, sound, module.norm_patches(mixed))
            close(found_audio[b, t], audio[b, t] + heard[0])


def test_raw_audio_guides_patches_and_leaves_the_audio_to_the_temporal_feature():
    torch.manual_seed(6)
    module = SpatialPerception(WIDTH, HEADS, feed_forward=False).double()
    audio, raw, patches = clips()
    plain_audio, plain_patches = module(audio, patches, everywhere())
    guided_audio, guided_patches = module(audio, patches, everywhere(), guide=raw)
    close(guided_audio, plain_audio)
    difference = module.audio_to_patch(module.norm_audio(raw)) - module.audio_to_patch(module.norm_audio(audio))
    close(guided_patches - plain_patches, difference[:, :, None].expand_as(patches))


def test_sound_attention_is_that_of_equation_six():
    torch.manual_seed(8)
    module = SpatialPerception(WIDTH, HEADS).double()
    audio, _, patches = clips()
    found = module.sound_attention(audio, patches)
    close(found.sum(-1), torch.ones_like(found[..., 0]))
    layer, size = module.patch_to_audio, WIDTH // HEADS
    mixed = patches[1, 2] + attend(module.patch_self, *[module.norm_patches(patches[1, 2])] * 2)
    query = layer.query(module.norm_audio(audio[1, 2]))
    key = layer.key_value(module.norm_patches(mixed))[:, :WIDTH]
    heads = [key[:, part] @ query[part] / size**0.5 for part in (slice(0, size), slice(size, WIDTH))]
    close(found[1, 2], torch.stack(heads).softmax(-1).mean(0))


def test_sound_to_patch_is_attention_over_one_key():
    torch.manual_seed(1)
    module, attention = SpatialPerception(WIDTH, HEADS).double(), Attention(WIDTH, HEADS).double()
    value, out = module.audio_to_patch
    with torch.no_grad():
        attention.key_value.weight[WIDTH:] = value.weight
        attention.key_value.bias[WIDTH:] = value.bias
        attention.out.load_state_dict(out.state_dict())
    sound = torch.randn(1, WIDTH, dtype=torch.float64)
    query = torch.randn(CELLS, WIDTH, dtype=torch.float64)  # whatever it is, one key has all the weight
    close(attend(attention, query, sound), module.audio_to_patch(sound).expand(CELLS, -1))


def test_steps_do_not_see_each_other():
    torch.manual_seed(2)
    module = SpatialPerception(WIDTH, HEADS).double()
    audio, _, patches = clips()
    whole = module(audio, patches, everywhere())
    single = module(audio[:, 2:3], patches[:, 2:3], everywhere(1))
    for one, other in zip(whole, single, strict=True):
        close(one[:, 2:3], other)


def weights(gate, audio, frame, patches, prompt):
    """Weights over time (2T,) and over space (T, P + 1) of one clip, Eq. 7 and 8."""
    both, cells = torch.cat([audio, frame]), torch.cat([audio[:, None], patches], 1)
    time = (gate.time(both) @ gate.query_time(prompt) / WIDTH**0.5).softmax(0)
    space = (gate.space(cells) @ gate.query_space(prompt) / WIDTH**0.5).softmax(-1)
    return time, space


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("valid_steps", [STEPS, 2])
def test_equations_seven_to_nine_written_out(residual, valid_steps):
    torch.manual_seed(3)
    gate = PromptGate(WIDTH, residual).double()
    audio, frame, patches = clips()
    prompt = torch.randn(2, WIDTH, dtype=torch.float64)
    valid = everywhere() & (torch.arange(STEPS) < valid_steps)
    found = gate(audio, frame, patches, prompt, valid)
    n = valid_steps
    for b in range(2):
        time, space = weights(gate, audio[b, :n], frame[b, :n], patches[b, :n], prompt[b])
        if residual:  # 1 + n w: features keep their scale where all weights are even
            time, space = 1 + 2 * n * time, 1 + (CELLS + 1) * space
        close(found[0][b, :n], audio[b, :n] * time[:n, None] * space[:, :1])
        close(found[1][b, :n], frame[b, :n] * time[n:, None])
        close(found[2][b, :n], patches[b, :n] * space[:, 1:, None])


def test_two_audio_streams_have_the_weights_of_time_and_of_space():
    torch.manual_seed(7)
    gate = PromptGate(WIDTH, residual=False).double()
    temporal, frame, patches = clips()
    spatial = torch.randn_like(temporal)
    prompt = torch.randn(2, WIDTH, dtype=torch.float64)
    factors = gate.factors(temporal, frame, spatial, patches, prompt, everywhere())
    streams, weighed_frame, weighed_patches = factors.weigh([temporal, spatial], frame, patches)
    for b in range(2):
        time, _ = weights(gate, temporal[b], frame[b], patches[b], prompt[b])
        _, space = weights(gate, spatial[b], frame[b], patches[b], prompt[b])
        close(streams[0][b], temporal[b] * time[:STEPS, None])
        close(streams[1][b], spatial[b] * space[:, :1])
        close(weighed_frame[b], frame[b] * time[STEPS:, None])
        close(weighed_patches[b], patches[b] * space[:, 1:, None])


def test_even_attention_doubles_features_with_a_residual_and_shrinks_them_without():
    audio, frame, patches = clips()
    for residual in (True, False):
        gate = PromptGate(WIDTH, residual).double()
        torch.nn.init.zeros_(gate.query_time.weight)
        torch.nn.init.zeros_(gate.query_time.bias)
        torch.nn.init.zeros_(gate.query_space.weight)
        torch.nn.init.zeros_(gate.query_space.bias)
        out = gate(audio, frame, patches, torch.ones(2, WIDTH, dtype=torch.float64), everywhere())
        time = 2 if residual else 1 / (2 * STEPS)
        space = 2 if residual else 1 / (CELLS + 1)
        close(out[0], audio * time * space)
        close(out[1], frame * time)
        close(out[2], patches * space)


def test_prompts_differ_in_what_they_weigh():
    torch.manual_seed(4)
    gate = PromptGate(WIDTH).double()
    audio, frame, patches = (x[:1].expand(2, *x.shape[1:]) for x in clips())
    out = gate(audio, frame, patches, torch.randn(2, WIDTH, dtype=torch.float64), everywhere())
    for x in out:
        assert not torch.allclose(x[0], x[1], atol=1e-4)


def test_padding_changes_no_valid_step():
    torch.manual_seed(5)
    spatial, gate = SpatialPerception(WIDTH, HEADS).double(), PromptGate(WIDTH).double()
    audio, frame, patches = clips(steps=9)
    prompt = torch.randn(2, WIDTH, dtype=torch.float64)

    def run(steps, valid):
        a, p = spatial(audio[:, :steps], patches[:, :steps], valid)
        return gate(a, frame[:, :steps], p, prompt, valid)

    alone = run(STEPS, everywhere())
    padded = run(9, everywhere(9) & (torch.arange(9) < STEPS))
    for one, other in zip(alone, padded, strict=True):
        close(other[:, :STEPS], one)
        assert torch.isfinite(other).all()
