# SPDX-License-Identifier: Apache-2.0
"""What a perfect eye without ears, and a perfect ear without eyes, reach in the tasks about events and places.

Neither gets near the truth, and each of the two tells something: a model that passes both looks and listens.
"""

import numpy as np
import pytest
import torch

from avkit.batch import Prediction
from avkit.collate import collate
from avkit.datasets.scenes import Scenes
from avkit.metrics.davel import EventDetectionMAP
from avkit.scenes import CLASSES, sample_scene, scene_targets
from avkit.scenes.world import overlap
from avkit.tasks import build_tasks
from avkit.training.evaluator import Evaluator

CLIPS = 120
SCENES = Scenes("test", CLIPS, picture=24)


@pytest.fixture(scope="module")
def heard_and_seen():
    """Classes per step, bool (clips, T, K) each."""
    fields = ["audio_segments", "visual_segments", "video_labels"]
    found = [scene_targets(sample_scene(i, "test"), fields=fields) for i in range(CLIPS)]
    return tuple(torch.from_numpy(np.stack([x[name] for x in found])) for name in fields)


def score(task, values, given):
    tasks = build_tasks([task], SCENES.vocabulary)
    board = Evaluator(tasks, quick=True)
    board.update(Prediction(task, given.id, values), given)
    return board.compute(task)


def clips(task, fields):
    """A batch of no pictures to speak of with these targets."""
    items = [SCENES.item(0, frozenset()) for _ in range(CLIPS)]
    for i, item in enumerate(items):
        item.id, item.targets = str(i), {name: x[i] for name, x in fields.items()}
    return collate(items, task)


def event_scores(sensed, most):
    """The class that is sensed, where there are at most so many, else background."""
    count = sensed.sum(-1)
    background = torch.where((count > 0) & (count <= most), -1.0, 2.0)
    return torch.cat([background[..., None], sensed.float()], -1)


@pytest.mark.parametrize(("sense", "low", "high"), [("seen", 0.28, 0.45), ("heard", 0.45, 0.7), ("both", 1.0, 1.0)])
def test_an_event_takes_both_senses(heard_and_seen, sense, low, high):
    heard, seen, _ = heard_and_seen
    given = clips("ave", {"audio_segments": heard, "visual_segments": seen})
    sensed = {"seen": seen, "heard": heard, "both": heard & seen}[sense]
    best = max(score("ave", {"event_scores": event_scores(sensed, most)}, given)["accuracy"] for most in range(1, 5))
    assert low <= best <= high


@pytest.mark.parametrize(
    ("sense", "high"), [("seen for both", 0.65), ("seen", 0.65), ("heard for both", 0.72), ("heard", 0.72)]
)
def test_parsing_takes_both_senses(heard_and_seen, sense, high):
    heard, seen, labels = heard_and_seen
    given = clips("avvp", {"audio_segments": heard, "visual_segments": seen, "video_labels": labels})
    one = seen if "seen" in sense else heard
    other = one if "both" in sense else torch.zeros_like(one)
    pair = (other, one) if "seen" in sense else (one, other)
    values = {"audio_scores": pair[0].float(), "visual_scores": pair[1].float()}
    found = score("avvp", {**values, "clip_scores": one.amax(1).float()}, given)
    assert found["segment/Type"] < high
    assert found["segment/AV"] < 0.75


@pytest.mark.parametrize(("sense", "low", "high"), [("seen", 0, 0.2), ("heard", 0.2, 0.45), ("both", 1, 1)])
def test_dense_events_take_both_senses(sense, low, high):
    metric = EventDetectionMAP()
    for i in range(CLIPS):
        scene = sample_scene(i, "test", untrimmed=True)
        spans = {
            "seen": lambda t: t.visible,
            "heard": lambda t: t.sounding,
            "both": lambda t: overlap(t.visible, t.sounding),
        }
        found, true = (
            torch.tensor([(*span, t.kind) for t in scene.things for span in spans[name](t)]).reshape(-1, 3)
            for name in (sense, "both")
        )
        told = {"segments": found[:, :2], "labels": found[:, 2].long(), "scores": torch.ones(len(found))}
        metric.update([str(i)], [told], [{"segments": true[:, :2], "labels": true[:, 2].long()}])
    assert low <= metric.compute()["Avg"] <= high


class TestCloseUps:
    """Which of the two things sounds is told by the sound alone."""

    @pytest.fixture(scope="class")
    def scenes(self):
        return [sample_scene(i, "test", close=True) for i in range(600)]

    def test_nothing_in_the_picture_tells_who_sounds(self, scenes):
        sounding = [next(k for k, thing in enumerate(scene.things) if thing.sounding) for scene in scenes]
        front = np.mean(sounding)
        before = np.mean(
            [sum(s.things[k].start) < sum(s.things[1 - k].start) for s, k in zip(scenes, sounding, strict=True)]
        )
        loud = np.mean(
            [
                np.mean(s.things[k].loudness) > np.mean(s.things[1 - k].loudness)
                for s, k in zip(scenes, sounding, strict=True)
            ]
        )
        assert all(0.42 < share < 0.58 for share in (front, before, loud))
        for k in range(len(CLASSES)):
            there = [scene.things[i].kind == k for scene, i in zip(scenes, sounding, strict=True)]
            shown = [any(thing.kind == k for thing in scene.things) for scene in scenes]
            assert 0.3 < sum(there) / sum(shown) < 0.7

    def test_places_by_themselves_are_no_answer(self):
        scenes = Scenes("test", 60, picture=64)
        given = collate([scenes.item(i, frozenset({"source"})) for i in range(60)], "ssl")
        tasks = build_tasks(["ssl"], scenes.vocabulary)
        for rule in tasks["ssl"].baselines([given]).values():
            assert score("ssl", rule(given).values, given)["cIoU@0.5"] < 0.25
        heat = torch.nn.functional.interpolate(given.targets["source"], (8, 8), mode="area")
        assert score("ssl", {"heat": heat}, given)["cIoU@0.5"] > 0.8
