# SPDX-License-Identifier: Apache-2.0
"""CCNet as a head of the shared backbone."""

import pytest
import torch

from avkit.batch import Batch, Tokens, Vocabulary
from avkit.heads import create_head
from avkit.heads.base import HeadInputs
from avkit.nn.event_levels import EventLevel
from avkit.systems.ccnet.head import _join

WIDTH = 12
CLASSES = ["dog", "cat", "car"]
SIZES = {"length": 16, "levels": 3, "inner": 4, "channels": 8, "width": 8}


def make_head(**options):
    torch.manual_seed(0)
    return create_head("davel", "ccnet", HeadInputs(WIDTH, Vocabulary(classes=CLASSES)), **SIZES, **options)


def make_tokens(lengths, steps=None):
    torch.manual_seed(1)
    steps = steps or max(lengths)
    return Tokens(
        audio=torch.randn(len(lengths), steps, WIDTH),
        frame=torch.randn(len(lengths), steps, WIDTH),
        patches=torch.randn(len(lengths), steps, 4, WIDTH),
        grid=(2, 2),
        valid=torch.arange(steps)[None] < torch.tensor(lengths)[:, None],
    )


def make_batch(tokens):
    samples = len(tokens.audio)
    events = [torch.tensor([[1.0, 6.0, 0.0], [2.0, 9.0, 2.0]]) for _ in range(samples)]
    duration = tokens.valid.sum(1).float()
    ids = [str(index) for index in range(samples)]
    return Batch("davel", ids, duration, 1.0, tokens.valid, targets={"events": events})


@pytest.mark.parametrize("lengths", [(10, 7), (16, 16), (41, 30)], ids=str)
def test_every_trained_parameter_gets_a_gradient(lengths):
    head, tokens = make_head().train(), make_tokens(lengths)
    batch = make_batch(tokens)
    losses = head.loss(head(tokens, batch), batch)
    assert losses["loss"].isfinite()
    losses["loss"].backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(("steps", "points"), [(1, 16), (10, 16), (16, 16), (17, 24), (40, 40), (41, 48)])
@torch.no_grad()
def test_points_lie_on_one_grid_for_clips_of_any_length(steps, points):
    head, tokens = make_head().eval(), make_tokens((steps,))
    levels = head(tokens, make_batch(tokens))
    assert [level.logits.shape[1] for level in levels] == [points, points // 2, points // 4]
    assert [level.stride for level in levels] == [1, 2, 4]
    assert levels[0].valid.sum() == steps
    events = head.predict(levels, make_batch(tokens)).values["event_list"][0]
    assert (events[:, 1] <= steps).all()


def test_padding_changes_nothing():
    head, short, padded = make_head().eval(), make_tokens((9,)), make_tokens((9,), 14)
    for name in ("audio", "frame"):
        getattr(padded, name)[:, :9] = getattr(short, name)
    with torch.no_grad():
        expected = head(short, make_batch(short))
        levels = head(padded, make_batch(padded))
    for level, same in zip(levels, expected, strict=True):
        torch.testing.assert_close(level.logits[level.valid], same.logits[same.valid])
        torch.testing.assert_close(level.offsets[level.valid], same.offsets[same.valid])


def test_each_point_is_taken_from_the_window_whose_middle_is_nearest():
    valid = torch.ones(1, 8, dtype=torch.bool)
    windows = [
        EventLevel(torch.full((1, 8, 1), float(number)), torch.zeros(1, 8, 1, 2), valid, 1) for number in range(3)
    ]
    joined = _join(windows, torch.tensor([2]))
    assert joined.logits.flatten().tolist() == [0.0] * 6 + [1.0] * 4 + [2.0] * 6
    shorter = _join(windows, torch.tensor([1]))
    assert shorter.logits.flatten().tolist()[:12] == [0.0] * 6 + [1.0] * 6
    assert shorter.valid.flatten().tolist() == [True] * 12 + [False] * 4


def test_a_length_that_the_levels_do_not_divide():
    inputs = HeadInputs(WIDTH, Vocabulary(classes=CLASSES))
    sizes = SIZES | {"length": 20}
    with pytest.raises(ValueError, match="length is 20; a head with 3 levels needs a multiple of 8"):
        create_head("davel", "ccnet", inputs, **sizes)
