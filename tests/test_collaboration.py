# SPDX-License-Identifier: Apache-2.0
"""Mask collaboration, regional consistency, the router of experts and the adaptive weight, each written out."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from avkit.batch import Tokens, Vocabulary
from avkit.encoders.small import SmallVisual
from avkit.heads.base import HeadInputs
from avkit.nn.region_crop import cut_out
from avkit.systems.ssuformer.collaboration import CaptionProjection, MaskCollaboration, region_consistency
from avkit.systems.ssuformer.criterion import AdaptiveWeight
from avkit.systems.ssuformer.experts import ExpertFeatures, ExpertRouter
from avkit.systems.ssuformer.regions import ImageRegions, PooledRegions


def test_cut_out_pixel_by_pixel():
    torch.manual_seed(0)
    pictures = torch.randint(0, 256, (2, 3, 6, 5), dtype=torch.uint8)
    masks = torch.rand(2, 6, 5)
    soft, hard = cut_out(pictures, masks), cut_out(pictures, masks, hard=True)
    for n, c, y, x in ((0, 0, 0, 0), (1, 2, 5, 4), (0, 1, 3, 2)):
        value = int(pictures[n, c, y, x]) / 255
        assert float(soft[n, c, y, x]) == pytest.approx(value * float(masks[n, y, x]), abs=1e-6)
        assert float(hard[n, c, y, x]) == pytest.approx(value if masks[n, y, x] > 0.5 else 0, abs=1e-6)
    assert cut_out(pictures, torch.rand(2, 3, 3), side=8).shape == (2, 3, 8, 8)


def test_captions_train_masks_through_a_frozen_encoder():
    torch.manual_seed(0)
    regions = ImageRegions(SmallVisual()).train()
    module = MaskCollaboration(regions.width, 8)
    logits = torch.randn(2, 32, 32, requires_grad=True)
    pictures = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    embeddings = regions.embed(pictures, logits.sigmoid(), hard=False)
    tokens = module(embeddings)
    assert tokens.shape == (2, 1, 8)
    assert embeddings.shape == (2, regions.width)
    tokens.square().sum().backward()
    assert logits.grad.abs().sum() > 0
    assert all(p.grad is None for p in regions.parameters())
    assert not any(part.training for part in regions.encoder.modules())
    with torch.no_grad():  # masks that are cut: the same region, the same embedding, however sure
        one = regions.embed(pictures, logits.sigmoid(), hard=True)
        other = regions.embed(pictures, (9 * logits).sigmoid(), hard=True)
        soft = regions.embed(pictures, logits.sigmoid(), hard=False)
    torch.testing.assert_close(one, other)
    assert not torch.allclose(one, soft)
    with pytest.raises(ValueError, match="3 masks for 2 pictures"):
        regions.embed(pictures, torch.rand(3, 32, 32), hard=False)


def tokens_of(pictures, level, patches):
    """Tokens of one clip of pictures (T, 3, H, W) with one level (T, C, h, w) and patches (T, D, h, w)."""
    steps, width, *grid = patches.shape
    flat = patches.flatten(2).transpose(1, 2)[None]
    audio, valid = torch.zeros(1, steps, width), torch.ones(1, steps, dtype=torch.bool)
    return Tokens(audio, audio, flat, tuple(grid), valid, [level[None]], picture=pictures[None])


def test_pooled_regions_pixel_by_pixel():
    torch.manual_seed(0)
    inputs = HeadInputs(6, Vocabulary(), (5,))
    pooled = PooledRegions(inputs)
    pictures = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    level, patches = torch.randn(3, 5, 4, 4), torch.randn(3, 6, 2, 2)
    tokens = tokens_of(pictures, level, patches)
    masks = torch.zeros(1, 3, 8, 8)
    masks[0, 0, :2, 4:] = 1  # upper right
    masks[0, 1] = 0.3
    rows = torch.tensor([True, True, False])
    soft, hard = (pooled(tokens, masks, rows, hard=h) for h in (False, True))
    assert soft.shape == (2, pooled.width)
    torch.testing.assert_close(soft[0, :5], level[0, :, 0, 2:].sum(1) / 2.01)
    torch.testing.assert_close(soft[0, 5:11], patches[0, :, 0, 1] * 0.5 / 0.51)  # the mask covers half of the patch
    colour = (pictures[0, :, :2, 4:].float() / 127.5 - 1).sum((1, 2)) / 8.01
    torch.testing.assert_close(soft[0, 11:14], colour)
    assert soft[0, 14:16].tolist() == pytest.approx([0.25, -0.375], abs=1e-3)
    assert float(soft[0, -1]) == pytest.approx((8 / 64) ** 0.5, abs=1e-3)
    torch.testing.assert_close(soft[0], hard[0])
    assert not hard[1, :16].any()  # an empty mask has no features
    assert pooled(replace(tokens, picture=None), masks, rows, hard=True)[0, 11:14].tolist() == [0, 0, 0]


def test_pooled_regions_train_masks():
    pooled = PooledRegions(HeadInputs(6, Vocabulary(), (5,)))
    pictures = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    tokens = tokens_of(pictures, torch.randn(2, 5, 4, 4), torch.randn(2, 6, 2, 2))
    logits = torch.randn(1, 2, 8, 8, requires_grad=True)
    pooled(tokens, logits.sigmoid(), torch.ones(2, dtype=torch.bool), hard=False).square().sum().backward()
    assert (logits.grad != 0).all()


def test_gradient_through_the_encoder_is_the_numerical_one():
    torch.manual_seed(0)
    encoder = SmallVisual((4, 4, 4)).double().requires_grad_(False)
    picture, logits = torch.rand(1, 3, 16, 16).double(), torch.randn(1, 4, 4).double().requires_grad_()

    def total(x):
        return encoder(cut_out(picture, x.sigmoid())).frame.sum()

    total(logits).backward()
    for y, x in ((0, 0), (2, 3)):
        step = torch.zeros_like(logits)
        step[0, y, x] = 1e-5
        with torch.no_grad():
            slope = float(total(logits + step) - total(logits - step)) / 2e-5
        assert float(logits.grad[0, y, x]) == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_regional_consistency_is_equation_five():
    torch.manual_seed(0)
    a, b = torch.randn(3, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    distance = region_consistency(a, b)
    for n in range(3):
        one = a[n] / a[n].norm()
        other = b[n] / b[n].norm()
        assert float(distance[n].detach()) == pytest.approx(float((one - other).norm().detach()), abs=1e-5)
    distance.sum().backward()
    assert a.grad.abs().sum() > 0
    assert b.grad.abs().sum() > 0


def test_regional_consistency_is_finite_where_there_is_nothing():
    same = torch.ones(1, 4, requires_grad=True)
    nothing = torch.zeros(1, 4, requires_grad=True)
    (region_consistency(same, same.detach()) + region_consistency(nothing, same)).sum().backward()
    assert torch.isfinite(same.grad).all()
    assert torch.isfinite(nothing.grad).all()


def test_a_caption_is_the_mean_of_its_states():
    torch.manual_seed(0)
    module, states = CaptionProjection(4, 3), torch.randn(2, 3, 4)
    valid = torch.tensor([[True, True, False], [False, False, False]])
    embeddings = module(states, valid)
    torch.testing.assert_close(embeddings[0], module.out(states[0, :2].mean(0)))
    torch.testing.assert_close(embeddings[1], module.out(torch.zeros(4)))


def router():
    torch.manual_seed(0)
    net = ExpertRouter(8, 6, heads=2)
    torch.nn.init.normal_(net.own_step)
    for layer in (net.attention.out, net.router[-1]):  # which are zero at first
        torch.nn.init.normal_(layer.weight)
        torch.nn.init.normal_(layer.bias)
    return net.eval()


def test_an_expert_that_has_learned_nothing_says_nothing():
    torch.manual_seed(0)
    net = ExpertRouter(8, 6, heads=2)
    states, frame = torch.randn(2, 3, 8), torch.randn(2, 8)
    expert = ExpertFeatures(net.read(torch.randn(2, 4, 6), 1)[:, 0], torch.ones(2, 4, dtype=torch.bool))
    mixed, share = net(states, frame, expert)
    torch.testing.assert_close(mixed, net.norm(states + net.frame_in(frame)[:, None]), atol=1e-4, rtol=1e-4)
    assert (share == 0.5).all()
    mixed.square().mul(torch.randn_like(mixed)).sum().backward()
    assert net.attention.out.weight.grad.abs().sum() > 0


def test_a_router_keeps_an_expert_that_knows_the_answer():
    """Only the expert knows which of four words comes; the states say nothing."""
    torch.manual_seed(0)
    net = ExpertRouter(16, 4, heads=2)
    head = torch.nn.Linear(16, 4)
    optimizer = torch.optim.AdamW([*net.parameters(), *head.parameters()], lr=5e-3)
    shares = []
    for _ in range(150):
        answers = torch.randint(4, (32,))
        known = F.one_hot(answers, 4).float()[:, None]
        expert = ExpertFeatures(net.read(known, 1)[:, 0], torch.ones(32, 1, dtype=torch.bool))
        mixed, share = net(torch.randn(32, 1, 16), torch.randn(32, 16), expert)
        loss = F.cross_entropy(head(mixed[:, 0]), answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shares.append(float(share.mean().detach()))
    assert min(shares) > 0.3
    assert float(loss.detach()) < 0.1


def test_router_word_by_word():
    net = router()
    states, frame = torch.randn(2, 3, 8), torch.randn(2, 8)
    features = net.read(torch.randn(2, 4, 6), 1)[:, 0]
    available = torch.tensor([[True, True, False, True], [True, False, False, False]])
    mixed, share = net(states, frame, ExpertFeatures(features, available))
    layer, half = net.attention, 4
    for n in range(2):
        keys = features[n][available[n]]
        k, v = layer.key_value(keys).chunk(2, -1)
        for word in range(3):
            q = layer.query(states[n, word])
            parts = [slice(0, half), slice(half, 8)]
            attended = torch.cat([(k[:, p] @ q[p] / half**0.5).softmax(0) @ v[:, p] for p in parts])
            attended = layer.out(attended)
            weight = net.router(torch.cat([states[n, word], attended])).softmax(0)
            own = states[n, word] + net.frame_in(frame[n])
            torch.testing.assert_close(mixed[n, word], net.norm(weight[0] * own + weight[1] * attended))
            assert float(share[n, word]) == pytest.approx(float(weight[1]), abs=1e-6)


def test_router_keeps_to_the_decoder_where_nothing_is_known():
    net = router()
    states, frame = torch.randn(2, 3, 8, requires_grad=True), torch.randn(2, 8)
    available = torch.tensor([[True, True], [False, False]])
    features = net.read(torch.randn(2, 2, 6), 1)[:, 0]
    mixed, share = net(states, frame, ExpertFeatures(features, available))
    assert (share[0] > 0).all()
    assert (share[1] == 0).all()
    torch.testing.assert_close(mixed[1], net.norm(states[1] + net.frame_in(frame[1])))
    far = ExpertFeatures(features + 1e6 * ~available[..., None], available)
    torch.testing.assert_close(mixed, net(states, frame, far)[0])
    mixed.sum().backward()
    assert torch.isfinite(states.grad).all()


def test_a_step_knows_its_own_feature_where_there_is_one_each():
    net = router()
    per_step, per_clip = torch.randn(1, 3, 6), torch.randn(1, 5, 6)
    each = net.read(per_step, 3)
    plain = net.norm_expert(net.features_in(per_step))[0]
    for step in range(3):
        for other in range(3):
            torch.testing.assert_close(each[0, step, other], plain[other] + (net.own_step if step == other else 0))
    same = net.read(per_clip, 3)
    torch.testing.assert_close(same[0, 0], same[0, 2])
    with pytest.raises(ValueError, match="7 wide, this model takes 6"):
        net.read(torch.randn(1, 3, 7), 3)


def test_a_fixed_weight_stays():
    fixed = AdaptiveWeight(0.25)
    fixed(torch.tensor(0.5), torch.tensor(3.0))
    assert fixed.value == 0.25
    assert not fixed.state_dict()
    with pytest.raises(ValueError, match="between the floor"):
        AdaptiveWeight(0.02)


@pytest.mark.parametrize(("masks", "text"), [(0.5, 1.5), (1.5, 0.5), (0.2, 0.2)])
def test_a_learned_weight_lets_both_losses_contribute_equally(masks, text):
    learned = AdaptiveWeight(0.25, learned=True, floor=0.05)
    assert float(learned.value) == pytest.approx(0.25, abs=1e-6)
    for _ in range(1000):
        learned(torch.tensor(masks), torch.tensor(text))
    weight = float(learned.value)
    assert weight * masks == pytest.approx((1 - weight) * text, rel=1e-3)
    before = learned.eval().value.clone()
    learned(torch.tensor(9.0), torch.tensor(0.1))
    assert torch.equal(learned.value, before)  # it moves in training alone


def test_a_learned_weight_keeps_to_its_floor():
    learned = AdaptiveWeight(0.25, learned=True, floor=0.05)
    for _ in range(2000):
        learned(torch.tensor(0.0), torch.tensor(3.0))
    assert float(learned.value) == pytest.approx(0.95, abs=1e-3)
    other = AdaptiveWeight(0.25, learned=True)
    other.load_state_dict(learned.state_dict())
    assert torch.equal(other.value, learned.value)


def test_regions_are_cut_out_in_half_precision():
    pictures = torch.rand(2, 3, 20, 20)
    masks = torch.rand(2, 5, 5)
    whole = cut_out(pictures, masks, side=8)
    half = cut_out(pictures.bfloat16(), masks.bfloat16(), side=8)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), whole, atol=0.02, rtol=0)
