# SPDX-License-Identifier: Apache-2.0
"""Multi-modality integration, against Eq. 2 and 3 written out step by step."""

import pytest
import torch

from avkit.systems.ssuformer.integration import MultiModalityIntegration

WIDTH, HEADS, STEPS, CELLS = 8, 2, 4, 3


def clip(steps=STEPS):
    torch.manual_seed(3)
    audio, patches = torch.randn(1, steps, WIDTH), torch.randn(1, steps, CELLS, WIDTH)
    return audio.double(), patches.double(), torch.ones(1, steps, dtype=torch.bool)


def attend(layer, query, context, bias=None):
    """One query row (D,) towards rows (M, D), head by head; `bias` is added to the scores, (heads, M)."""
    size = WIDTH // HEADS
    heads = []
    k, v = layer.key_value(context).chunk(2, -1)
    q = layer.query(query)
    for h in range(HEADS):
        part = slice(h * size, (h + 1) * size)
        score = k[:, part] @ q[part] / size**0.5
        score = score if bias is None else score + bias[h]
        heads.append(score.softmax(0) @ v[:, part])
    return layer.out(torch.cat(heads))


def slow_layer(layer, audio, patches):
    """One layer on a clip without padding, one query after the other."""
    steps = len(audio)
    patch_norms, audio_norms = layer.patch_norms, layer.audio_norms

    def near(module, t):
        radius = module.temporal.radius
        return torch.stack([module.temporal.bias[:, u - t + radius] for u in range(steps)], -1)

    def over_time(module, t, query, context):
        return attend(module.temporal, query, context, near(module, t))

    def over_space(module, query, context):
        return attend(module.spatial or module.temporal, query, context)

    timed, x = patch_norms["time"](patches), torch.empty_like(patches)
    for t in range(steps):
        for p in range(CELLS):
            x[t, p] = patches[t, p] + over_time(layer.visual_attention, t, timed[t, p], timed[:, p])
    spaced, y = patch_norms["space"](x), torch.empty_like(x)
    for t in range(steps):
        for p in range(CELLS):
            row = x[t, p] + over_space(layer.visual_attention, spaced[t, p], spaced[t])
            y[t, p] = row + layer.patch_feed_forward(patch_norms["feed_forward"](row))
    if layer.audio_attention is not None:
        module = layer.audio_attention
        normed = audio_norms["self"](audio)
        attended = []
        for t in range(steps):
            bias = torch.stack([module.bias[:, u - t + module.radius] for u in range(steps)], -1)
            attended.append(attend(module, normed[t], normed, bias))
        audio = audio + torch.stack(attended)
    a = torch.empty_like(audio)
    for t in range(steps):
        row = audio[t] + over_time(layer.cross_attention, t, audio_norms["time"](audio[t]), y.mean(1))
        row = row + over_space(layer.cross_attention, audio_norms["space"](row), y[t])
        a[t] = row + layer.audio_feed_forward(audio_norms["feed_forward"](row))
    return a, y


def awake(net):
    """The module with weights where it begins with zeros."""
    for p in net.parameters():
        if not p.any():
            torch.nn.init.normal_(p, std=0.3)
    return net.double().eval()


def test_it_begins_as_the_identity():
    torch.manual_seed(0)
    audio, patches, valid = clip()
    output = MultiModalityIntegration(WIDTH, heads=HEADS).double()(audio, patches, valid)
    assert torch.equal(output[0], audio)
    assert torch.equal(output[1], patches)


@pytest.mark.parametrize(("share", "audio_self"), [(True, False), (False, False), (True, True)])
def test_layers_written_out(share, audio_self):
    torch.manual_seed(0)
    options = {"share": share, "audio_self_attention": audio_self}
    net = awake(MultiModalityIntegration(WIDTH, layers=2, heads=HEADS, inner=16, radius=5, **options))
    audio, patches, valid = clip()
    with torch.no_grad():
        output = net(audio, patches, valid)
        expected = audio[0], patches[0]
        for layer in net.layers:
            expected = slow_layer(layer, *expected)
    for one, other in zip(output, expected, strict=True):
        torch.testing.assert_close(one[0], other, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("audio_self", [False, True])
def test_sound_of_another_second_is_heard_through_self_attention_of_audio_alone(audio_self):
    torch.manual_seed(0)
    net = awake(MultiModalityIntegration(WIDTH, heads=HEADS, inner=16, audio_self_attention=audio_self))
    audio, patches, valid = clip(6)
    other = audio.clone()
    other[:, 0] = torch.randn(WIDTH)
    with torch.no_grad():
        change = (net(other, patches, valid)[0] - net(audio, patches, valid)[0]).abs().amax((0, 2))
    assert change[0] > 0.1
    assert bool(change[5] > 1e-3) is audio_self


def test_self_attention_of_audio_leaves_the_other_initial_weights_as_they_are():
    torch.manual_seed(0)
    without = MultiModalityIntegration(WIDTH, 1, HEADS).state_dict()
    torch.manual_seed(0)
    with_it = MultiModalityIntegration(WIDTH, 1, HEADS, audio_self_attention=True).state_dict()
    assert all(torch.equal(with_it[name], value) for name, value in without.items())
    added = [name for name in with_it if name not in without]
    assert all(".audio_attention." in name or ".audio_norms.self." in name for name in added)


def test_sharing_saves_the_projections_of_one_pass():
    sizes = [sum(p.numel() for p in MultiModalityIntegration(16, 1, 2, share=s).parameters()) for s in (True, False)]
    assert sizes[1] - sizes[0] == 2 * 4 * (16 * 16 + 16)


def test_padding_changes_nothing():
    torch.manual_seed(0)
    net = awake(MultiModalityIntegration(WIDTH, heads=HEADS, inner=16, audio_self_attention=True))
    audio, patches, valid = clip()
    wide = [torch.cat([x, torch.randn_like(x)], 1) for x in (audio, patches)]
    with torch.no_grad():
        short, long = net(audio, patches, valid), net(*wide, torch.cat([valid, ~valid], 1))
    for one, other in zip(short, long, strict=True):
        torch.testing.assert_close(one, other[:, :STEPS], atol=1e-10, rtol=1e-10)
