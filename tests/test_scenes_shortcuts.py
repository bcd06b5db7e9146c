# SPDX-License-Identifier: Apache-2.0
"""Scores of perfect visual predictions alone, and of perfect audio predictions alone, in tasks of events and sources.

Neither gets near a perfect score: a model that does better uses both modalities.
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
SCENES = Scenes("test", CLIPS, image_size=24)


@pytest.fixture(scope="module")
def sounding_and_visible():
    """Classes per step, bool (clips, T, K) each."""
    fields = ["audio_segments", "visual_segments", "video_labels"]
    targets = [scene_targets(sample_scene(i, "test"), fields=fields) for i in range(CLIPS)]
    return tuple(torch.from_numpy(np.stack([x[name] for x in targets])) for name in fields)


def score(task, values, given):
    tasks = build_tasks([task], SCENES.vocabulary)
    board = Evaluator(tasks, quick=True)
    board.update(Prediction(task, given.id, values), given)
    return board.compute(task)


def clips(task, fields):
    """A batch of tiny pictures with these targets."""
    items = [SCENES.item(0, frozenset()) for _ in range(CLIPS)]
    for i, item in enumerate(items):
        item.id, item.targets = str(i), {name: x[i] for name, x in fields.items()}
    return collate(items, task)


def event_scores(classes, max_classes):
    """The classes of a step where there are at most `max_classes`, else background."""
    count = classes.sum(-1)
    background = torch.where((count > 0) & (count <= max_classes), -1.0, 2.0)
    return torch.cat([background[..., None], classes.float()], -1)


@pytest.mark.parametrize(
    ("modality", "low", "high"), [("visual", 0.28, 0.45), ("audio", 0.45, 0.7), ("both", 1.0, 1.0)]
)
def test_an_event_needs_both_modalities(sounding_and_visible, modality, low, high):
    sounding, visible, _ = sounding_and_visible
    given = clips("ave", {"audio_segments": sounding, "visual_segments": visible})
    classes = {"visual": visible, "audio": sounding, "both": sounding & visible}[modality]
    scores = [score("ave", {"event_logits": event_scores(classes, limit)}, given)["accuracy"] for limit in range(1, 5)]
    best = max(scores)
    assert low <= best <= high


@pytest.mark.parametrize(
    ("modality", "high"), [("visual for both", 0.65), ("visual", 0.65), ("audio for both", 0.72), ("audio", 0.72)]
)
def test_parsing_needs_both_modalities(sounding_and_visible, modality, high):
    sounding, visible, labels = sounding_and_visible
    given = clips("avvp", {"audio_segments": sounding, "visual_segments": visible, "video_labels": labels})
    one = visible if "visual" in modality else sounding
    other = one if "both" in modality else torch.zeros_like(one)
    pair = (other, one) if "visual" in modality else (one, other)
    values = {"audio_scores": pair[0].float(), "visual_scores": pair[1].float()}
    scores = score("avvp", {**values, "clip_scores": one.amax(1).float()}, given)
    assert scores["segment/Type"] < high
    assert scores["segment/AV"] < 0.75


@pytest.mark.parametrize(("modality", "low", "high"), [("visual", 0, 0.2), ("audio", 0.2, 0.45), ("both", 1, 1)])
def test_dense_events_need_both_modalities(modality, low, high):
    metric = EventDetectionMAP()
    for i in range(CLIPS):
        scene = sample_scene(i, "test", untrimmed=True)
        spans = {
            "visual": lambda t: t.visible,
            "audio": lambda t: t.sounding,
            "both": lambda t: overlap(t.visible, t.sounding),
        }
        preds, target = (
            torch.tensor([(*span, t.kind) for t in scene.things for span in spans[name](t)]).reshape(-1, 3)
            for name in (modality, "both")
        )
        detections = {"segments": preds[:, :2], "labels": preds[:, 2].long(), "scores": torch.ones(len(preds))}
        metric.update([str(i)], [detections], [{"segments": target[:, :2], "labels": target[:, 2].long()}])
    assert low <= metric.compute()["Avg"] <= high


class TestCloseUps:
    """Only the sound tells which of the two things sounds."""

    @pytest.fixture(scope="class")
    def scenes(self):
        return [sample_scene(i, "test", close=True) for i in range(600)]

    def test_nothing_in_the_picture_tells_which_thing_sounds(self, scenes):
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
            sounding_kind = [scene.things[i].kind == k for scene, i in zip(scenes, sounding, strict=True)]
            visible_kind = [any(thing.kind == k for thing in scene.things) for scene in scenes]
            assert 0.3 < sum(sounding_kind) / sum(visible_kind) < 0.7

    def test_positions_alone_score_low(self):
        scenes = Scenes("test", 60, image_size=64)
        given = collate([scenes.item(i, frozenset({"source"})) for i in range(60)], "ssl")
        tasks = build_tasks(["ssl"], scenes.vocabulary)
        for rule in tasks["ssl"].baselines([given]).values():
            assert score("ssl", rule(given).values, given)["cIoU@0.5"] < 0.25
        heat = torch.nn.functional.interpolate(given.targets["source"], (8, 8), mode="area")
        assert score("ssl", {"heat": heat}, given)["cIoU@0.5"] > 0.8
