# SPDX-License-Identifier: Apache-2.0
"""TadTR on joined features: attention between steps, matches, and what it learns."""

import numpy as np
import pytest
import torch
from dense_toys import made_of_events, train_on_events
from scipy.optimize import linear_sum_assignment
from torch.utils.flop_counter import FlopCounterMode

from avkit.batch import FeatureWidths, Vocabulary
from avkit.metrics import EventDetectionMAP
from avkit.nn.assignment import assign
from avkit.systems import create_system
from avkit.systems.base import RunContext
from avkit.systems.tadtr.attention import sample
from avkit.systems.tadtr.criterion import overlap
from avkit.systems.tadtr.network import EventSet, TadTR, TadTROptions
from avkit.tasks import build_tasks

SMALL = {"width": 16, "heads": 2, "points": 2, "inner": 32, "encoder_layers": 1, "decoder_layers": 2, "queries": 6}
SMALL |= {"bins": 4, "dropout": 0.0}


def make_system(**options):
    torch.manual_seed(0)
    vocabulary = Vocabulary(classes=["dog", "cat", "car"])
    context = RunContext(
        build_tasks(["davel"], vocabulary), vocabulary, {"davel": FeatureWidths(4, 3)}, prompts={"davel": ""}
    )
    return create_system("tadtr", context, **{**SMALL, **options})


@pytest.mark.parametrize("size", [(0, 3), (1, 1), (4, 4), (5, 12), (12, 40)])
def test_the_assignment_is_that_of_scipy(size):
    random = np.random.default_rng(sum(size))
    for cost in (random.normal(size=size), random.integers(0, 3, size).astype(float)):
        columns = assign(cost)
        assert len(set(columns.tolist())) == size[0]
        rows, wanted = linear_sum_assignment(cost)
        assert cost[np.arange(size[0]), columns].sum() == pytest.approx(cost[rows, wanted].sum())


def test_an_assignment_that_there_is_not():
    with pytest.raises(ValueError, match="3 rows cannot be given 2 columns"):
        assign(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="not finite"):
        assign(np.array([[np.nan, 1.0]]))


def test_values_between_steps_are_interpolated_and_outside_are_0():
    rows = torch.tensor([1.0, 3.0, 7.0, 100.0])[None, :, None, None]
    place = torch.tensor([0.0, 0.5, 1.75, -0.5, 2.5, 9.0])[None, :, None, None]
    found = sample(rows, place, torch.tensor([3]))[0, :, 0, 0, 0]
    assert found.tolist() == [1.0, 2.0, 6.0, 0.5, 3.5, 0.0]


@torch.no_grad()
def test_padding_changes_nothing():
    torch.manual_seed(0)
    network = TadTR(TadTROptions(**SMALL), visual=4, audio=3, classes=2).eval()
    visual, audio = torch.randn(2, 21, 4), torch.randn(2, 21, 3)
    valid = torch.arange(21) < torch.tensor([21, 13])[:, None]
    together = network(visual, audio, valid)
    alone = network(visual[1:, :13], audio[1:, :13], valid[1:, :13])
    for layer, same in zip(together, alone, strict=True):
        torch.testing.assert_close(layer.logits[1:], same.logits)
        torch.testing.assert_close(layer.segments[1:], same.segments)
    torch.testing.assert_close(together[-1].actionness[1:], alone[-1].actionness)


def test_events_are_matched_to_the_queries_that_say_them_best():
    segments = torch.tensor([[[0.2, 0.2], [0.7, 0.4], [0.5, 0.9], [0.7, 0.4]]])
    logits = torch.full((1, 4, 2), -3.0)
    logits[0, 1, 0] = logits[0, 3, 1] = 1.0
    criterion = make_system().criterion
    events = torch.tensor([[0.7, 0.4, 1.0], [0.21, 0.2, 0.0]])
    assert criterion.match(EventSet(logits, segments), 0, events).tolist() == [3, 0]
    with pytest.raises(ValueError, match=r"5 events, and there are 4 queries.*--model\.system\.queries 5"):
        criterion.match(EventSet(logits, segments), 0, torch.zeros(5, 3))
    assert overlap(torch.tensor([0.5, 0.4]), torch.tensor([0.6, 0.4])).item() == pytest.approx(0.6)


def test_it_learns_to_find_events():
    system = make_system()
    batch = made_of_events(clips=4, steps=32, widths=(4, 3), classes=3)
    train_on_events(system, batch, steps=60, rate=5e-3)
    metric = EventDetectionMAP()
    with torch.no_grad():
        rows = system.eval().predict(system(batch), batch)["event_list"]
    assert all((row[:, 1] <= 32).all() and (row[:-1, 3] >= row[1:, 3]).all() for row in rows)
    preds = [{"segments": row[:, :2], "labels": row[:, 2].long(), "scores": row[:, 3]} for row in rows]
    target = [{"segments": row[:, :2], "labels": row[:, 2].long()} for row in batch.targets["events"]]
    metric.update(batch.id, preds, target)
    assert metric.compute()["mAP@0.5"] > 0.8


def test_every_parameter_gets_a_gradient():
    system = make_system().train()
    batch = made_of_events(clips=2, steps=20, widths=(4, 3), classes=3)
    batch.targets["events"][1] = batch.targets["events"][1][:0]  # a video without events
    losses = system.loss(system(batch), batch)
    assert all(value.isfinite() for value in losses.values())
    losses["loss"].backward()
    assert [name for name, parameter in system.named_parameters() if parameter.grad is None] == []


def test_its_cost_is_measured():
    system = make_system().eval()
    batch = made_of_events(clips=1, steps=20, widths=(4, 3), classes=3)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        system(batch)
    assert counter.get_total_flops() > 0


def test_a_width_that_heads_cannot_share():
    with pytest.raises(ValueError, match="width is 16, which 3 heads cannot share"):
        make_system(heads=3)
