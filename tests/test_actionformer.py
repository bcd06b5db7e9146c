# SPDX-License-Identifier: Apache-2.0
"""ActionFormer on joined features: attention, targets, and what it learns."""

import pytest
import torch
from dense_toys import made_of_events, train_on_events

from avkit.batch import FeatureWidths, Vocabulary
from avkit.metrics import EventDetectionMAP
from avkit.nn.event_criterion import assign_events, ranges_of
from avkit.systems import create_system
from avkit.systems.actionformer.network import ActionFormer, ActionFormerOptions, LocalAttention
from avkit.systems.base import RunContext
from avkit.tasks import build_tasks

SMALL = {"width": 16, "heads": 2, "window": 5, "levels": 3, "blocks": 1, "drop_path": 0.0}


def make_system(**options):
    torch.manual_seed(0)
    vocabulary = Vocabulary(classes=["dog", "cat", "car"])
    widths = {"davel": FeatureWidths(4, 3)}
    context = RunContext(build_tasks(["davel"], vocabulary), vocabulary, widths, prompts={"davel": ""})
    return create_system("actionformer", context, **SMALL, normaliser=20.0, **options)


@torch.no_grad()
def test_a_step_sees_its_window_and_no_padding():
    torch.manual_seed(0)
    attention = LocalAttention(8, 2, window=5).eval()
    x = torch.randn(1, 12, 8)
    valid = torch.ones(1, 12, dtype=torch.bool)
    before = attention(x, valid)
    changed = x.clone()
    changed[:, 7] = 9.0
    moved = (attention(changed, valid) - before).abs().amax(-1)[0] > 1e-6
    assert moved.nonzero().flatten().tolist() == [5, 6, 7, 8, 9]
    valid[:, 7] = False
    torch.testing.assert_close(attention(changed, valid)[:, 5], attention(x, valid)[:, 5])


@torch.no_grad()
def test_padding_changes_nothing():
    torch.manual_seed(0)
    network = ActionFormer(ActionFormerOptions(**SMALL), visual=4, audio=3, classes=2).eval()
    visual, audio = torch.randn(2, 21, 4), torch.randn(2, 21, 3)
    valid = torch.arange(21) < torch.tensor([21, 13])[:, None]
    together = network(visual, audio, valid)
    alone = network(visual[1:, :13], audio[1:, :13], valid[1:, :13])
    assert [level.stride for level in together] == [1, 2, 4]
    for level, same in zip(together, alone, strict=True):
        torch.testing.assert_close(level.logits[1][level.valid[1]], same.logits[0][same.valid[0]])
        torch.testing.assert_close(level.offsets[1][level.valid[1]], same.offsets[0][same.valid[0]])


def test_points_near_the_middle_of_an_event_are_trained_on_it():
    segments, labels = torch.tensor([[2.0, 9.0]]), torch.tensor([0])
    for radius, expected in ((0.0, [3, 4, 5, 6, 7, 8]), (1.5, [4, 5, 6, 7]), (0.5, [5, 6])):
        targets = assign_events(segments, labels, 1, [12], aware=False, ranges=ranges_of(1), centre_radius=radius)
        assert targets.classes[:, 0].nonzero().flatten().tolist() == expected


def test_it_learns_to_find_events():
    system = make_system()
    batch = made_of_events(clips=4, steps=32, widths=(4, 3), classes=3)
    assert train_on_events(system, batch, steps=40, rate=5e-3) < 0.35
    metric = EventDetectionMAP()
    with torch.no_grad():
        rows = system.eval().predict(system(batch), batch)["event_list"]
    preds = [{"segments": row[:, :2], "labels": row[:, 2].long(), "scores": row[:, 3]} for row in rows]
    target = [{"segments": row[:, :2], "labels": row[:, 2].long()} for row in batch.targets["events"]]
    metric.update(batch.id, preds, target)
    assert metric.compute()["mAP@0.5"] > 0.8


def test_every_parameter_gets_a_gradient():
    system = make_system(positions=True).train()
    batch = made_of_events(clips=2, steps=20, widths=(4, 3), classes=3)
    system.loss(system(batch), batch)["loss"].backward()
    assert [name for name, parameter in system.named_parameters() if parameter.grad is None] == []


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="window is 4; give an odd number of steps"):
        LocalAttention(8, 2, window=4)
    with pytest.raises(ValueError, match="width 9 is not a multiple of heads 2"):
        LocalAttention(9, 2, window=5)
