# SPDX-License-Identifier: Apache-2.0
"""Switches of CCNet back to the equations of its paper: each does what its equation says."""

import dataclasses

import pytest
import torch
from torch import nn

from avkit.nn.event_criterion import EventCriterion, assign_events, ranges_of
from avkit.nn.event_levels import EventLevel
from avkit.nn.event_options import EventLossOptions
from avkit.nn.losses import distance_iou_loss, generalised_iou_loss
from avkit.nn.masked_conv import MaskedAttention, PyramidBlock, max_pool
from avkit.systems.ccnet.granularity import CoarseToFine, FineToCoarse, GranularityOptions
from avkit.systems.ccnet.network import CCNet, CCNetOptions

WIDTH = 8
ALL = torch.ones(2, 8, dtype=torch.bool)
SIZES = {"width": WIDTH, "length": 16, "levels": 3, "inner": 4, "channels": 8, "blocks": 1}
PAPER = {
    "attention_scale": "width",
    "cmi_residual": "plain",
    "c2f_residual": "none",
    "f2c_residual": "none",
    "in_time": False,
}


def draw(steps=8, seed=0):
    return torch.randn(2, steps, WIDTH, generator=torch.Generator().manual_seed(seed))


def without_feed_forward(block):
    """A block as the equations print it, which leave the feed-forward layers out."""
    nn.init.zeros_(block.feed_forward[2].weight)
    return block.eval()


@pytest.mark.parametrize(("scale", "root"), [("head", (WIDTH / 4) ** 0.5), ("width", WIDTH**0.5)])
@torch.no_grad()
def test_scores_are_divided_by_the_root_of_what_the_scale_says(scale, root):
    attention = MaskedAttention(WIDTH, 4, scale=scale)
    context, query = draw(seed=1), draw(seed=2)
    q, k, v = (
        part(x, None).unflatten(-1, (4, 2)).transpose(1, 2)
        for part, x in ((attention.query, query), (attention.key, context), (attention.value, context))
    )
    expected = attention.out(((q @ k.mT / root).softmax(-1) @ v).transpose(1, 2).flatten(2))
    for keep in (None, ALL):
        torch.testing.assert_close(attention(context, query, keep), expected)


@torch.no_grad()
def test_equation_2_adds_attention_to_its_context_with_no_factor():
    options = CCNetOptions(**SIZES, cmi_residual="plain")
    level = CCNet(options, visual=5, audio=3, classes=2).trunk.levels[0].eval()
    visual, audio = draw(seed=1), draw(seed=2)
    for block, context, query in ((level.visual, visual, audio), (level.audio, audio, visual)):
        block = without_feed_forward(block)
        attended = block.attention(block.context_norm(context), block.query_norm(query), ALL)
        torch.testing.assert_close(block(context, query, ALL), context + attended)
    scaled = without_feed_forward(PyramidBlock(WIDTH, 4))
    attended = scaled.attention(scaled.context_norm(visual), scaled.query_norm(audio), ALL)
    torch.testing.assert_close(scaled(visual, audio, ALL), visual + 1e-4 * attended)


@torch.no_grad()
def test_equation_7_is_attention_alone():
    options = GranularityOptions(length=8, levels=2, c2f_residual="none")
    part = CoarseToFine(WIDTH, (8, 4), options).eval()
    block = without_feed_forward(part.block)
    fine, coarse = draw(seed=1), draw(4, seed=2)
    stretched = part.stretch[0](coarse.mT).relu().mT
    expected = block.attention(block.context_norm(fine), block.query_norm(stretched), ALL)
    torch.testing.assert_close(part(fine, coarse, ALL, 0), expected)


@torch.no_grad()
def test_equation_8_adds_attention_to_the_coarse_level_alone():
    part = FineToCoarse(WIDTH, GranularityOptions(levels=2, f2c_residual="none")).eval()
    block = without_feed_forward(part.blocks[0])
    fine, coarse = draw(seed=1), draw(4, seed=2)
    pooled = max_pool(fine)
    valid = [ALL, ALL[:, ::2]]
    attended = block.attention(block.context_norm(pooled), block.query_norm(coarse), valid[1])
    finest, coarser = part([fine, coarse], valid)
    assert torch.equal(finest, fine)
    torch.testing.assert_close(coarser, coarse + attended)


def test_equation_9_is_the_generalised_iou_of_the_segments():
    generator = torch.Generator().manual_seed(0)
    predicted, true = 5 * torch.rand(2, 50, 2, generator=generator)
    point = 10 * torch.rand(50, generator=generator)
    low = torch.stack([point - predicted[:, 0], point - true[:, 0]])
    high = torch.stack([point + predicted[:, 1], point + true[:, 1]])
    overlap = (high.amin(0) - low.amax(0)).clamp(min=0)
    union = (high - low).sum(0) - overlap
    hull = high.amax(0) - low.amin(0)
    expected = 1 - (overlap / union - (hull - union) / hull)
    torch.testing.assert_close(generalised_iou_loss(predicted, true), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "loss"), [("diou", distance_iou_loss), ("giou", generalised_iou_loss)])
def test_the_criterion_takes_the_loss_of_boundaries_that_is_named(name, loss):
    generator = torch.Generator().manual_seed(0)
    offsets = torch.rand(1, 8, 2, 2, generator=generator)
    level = EventLevel(torch.zeros(1, 8, 2), offsets, torch.ones(1, 8, dtype=torch.bool), 1, 0.5)
    targets = assign_events(torch.tensor([[0.4, 5.3]]), torch.tensor([1]), 2, [8], ranges=ranges_of(1))
    criterion = EventCriterion(EventLossOptions(segment_loss=name))
    losses = criterion.loss_of([level], [targets])
    points = targets.classes[:, 1] > 0
    expected = loss(offsets[0, points, 1], targets.offsets[points, 1]).sum() / criterion.normaliser.value
    assert losses["segments"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_all_switches_together_train_every_parameter():
    torch.manual_seed(0)
    network = CCNet(CCNetOptions(**SIZES, **PAPER), visual=5, audio=3, classes=2).train()
    assert not any(name.endswith("path.scale") for name, _ in network.neck.named_parameters() if "_to_" in name)
    valid = torch.arange(12) < torch.tensor([12, 9])[:, None]
    levels = network(torch.randn(2, 12, 5), torch.randn(2, 12, 3), valid)
    sum(level.logits.square().sum() + level.offsets.sum() for level in levels).backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []


def test_the_defaults_are_those_of_the_code():
    options = CCNetOptions()
    code = {"attention_scale": "head", "cmi_residual": "scaled", "c2f_residual": "scaled", "f2c_residual": "scaled"}
    assert code.items() <= dataclasses.asdict(options).items()
    assert EventLossOptions().segment_loss == "diou"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention_scale": "heads"}, "Unknown attention scale 'heads'.*head"),
        ({"cmi_residual": "added"}, "Unknown residual 'added'.*none, plain, scaled"),
        ({"c2f_residual": "no"}, "Unknown residual 'no'"),
        ({"f2c_residual": "no"}, "Unknown residual 'no'"),
    ],
)
def test_unknown_switches(options, message):
    with pytest.raises(ValueError, match=message):
        CCNet(CCNetOptions(**SIZES, **options), visual=5, audio=3, classes=2)


def test_an_unknown_loss_of_boundaries():
    with pytest.raises(ValueError, match=r"Unknown loss of boundaries 'iou'.*diou, giou"):
        EventCriterion(EventLossOptions(segment_loss="iou"))
