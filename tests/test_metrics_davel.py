# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
import torch
from golden import golden_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from avkit.batch import Item, Prediction, Vocabulary
from avkit.collate import collate
from avkit.metrics import EventDetectionMAP, EventRecall
from avkit.metrics.event_precision import (
    EventTable,
    average_precision,
    localised,
    temporal_iou,
    without_duplicates,
)
from avkit.tasks.davel import DenseEvents
from avkit.training.evaluator import Evaluator


def events(*rows):
    """Rows of video, start, end, label and, for detections, score."""
    rows = [(*row, 0.0)[:5] for row in rows]
    video, start, end, label, score = (np.array(column) for column in zip(*rows, strict=True))
    return EventTable(video, np.stack([start, end], 1).astype(float), label, score.astype(float))


def at_half(preds, target, **kwargs):
    return average_precision(preds, target, np.array([0.5]), **kwargs)[0][0].tolist()


def test_a_double_takes_a_second_truth_that_still_passes():
    target = events((0, 0.0, 10.0, 3), (0, 1.0, 11.0, 3))
    preds = events((0, 0.0, 10.0, 3, 0.9), (0, 0.0, 10.0, 3, 0.8))
    assert at_half(preds, target) == [1.0]
    assert at_half(preds, events((0, 0.0, 10.0, 3), (0, 20.0, 30.0, 3))) == [0.5]


def test_precision_is_summed_over_changes_of_recall():
    target = events((0, 0.0, 1.0, 0), (1, 0.0, 1.0, 0))
    preds = events((0, 5.0, 6.0, 0, 0.9), (0, 0.0, 1.0, 0, 0.8), (1, 0.0, 1.0, 0, 0.7))
    assert at_half(preds, target) == [pytest.approx(2 / 3)]


def test_classes_without_detections_count_and_unknown_videos_are_false():
    target = events((0, 0.0, 1.0, 4), (0, 0.0, 1.0, 9))
    preds = events((7, 0.0, 1.0, 4, 0.9), (0, 0.0, 1.0, 4, 0.8))
    assert at_half(preds, target) == [0.5, 0.0]


def test_labels_that_no_truth_has_keep_their_number_or_are_dropped():
    target = events((0, 0.0, 1.0, 5))  # label 5 becomes class 0, and label 0 is taken for it
    preds = events((0, 3.0, 4.0, 0, 0.9), (0, 0.0, 1.0, 5, 0.8))
    assert at_half(preds, target) == [0.5]
    assert at_half(preds, target, unknown="drop") == [1.0]


def test_ties():
    target = events((0, 0.0, 1.0, 0))
    preds = events((0, 0.0, 1.0, 0, 0.5), (0, 5.0, 6.0, 0, 0.5))
    assert at_half(preds, target, ties="earlier_first") == [1.0]
    assert at_half(preds, target, ties="later_first") == [0.5]


def test_doubles_among_truths():
    span = np.array([[0.0, 1.0], [0.0005, 1.0], [0.0015, 1.0], [0.0, 1.0], [0.0, 1.002]])
    assert without_duplicates(span, np.array([0, 0, 0, 1, 0])).tolist() == [True, False, True, True, True]


def test_no_length_no_overlap():
    points = np.array([[1.0, 1.0], [0.0, 2.0]])
    assert temporal_iou(points[:, None], points[None]).tolist() == [[0, 0], [0, 1]]


def slow_ap(preds, target, threshold):
    """One class, the plain way."""
    order = sorted(range(len(preds.score)), key=lambda i: (preds.score[i], i), reverse=True)
    taken, hits = set(), []
    for i in order:
        rows = [j for j in range(len(target.video)) if target.video[j] == preds.video[i]]
        ious = [(temporal_iou(preds.span[i], target.span[j]), j) for j in rows]
        best = next((j for iou, j in sorted(ious, reverse=True) if iou >= threshold and j not in taken), None)
        hits.append(best is not None)
        taken.add(best)
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(hits) + 1)
    return sum(max(precision[i:]) for i, hit in enumerate(hits) if hit) / len(target.video)


def draw(seed, count=25, truths=8, videos=3):
    random = np.random.default_rng(seed)

    def spans(n):
        return np.sort(random.integers(0, 12, (n, 2)) / 2, 1) + np.array([0, 0.5])

    zeros = np.zeros(count, int)
    preds = EventTable(random.integers(0, videos, count), spans(count), zeros, random.integers(0, 9, count) / 9)
    target = EventTable(random.integers(0, videos, truths), spans(truths), zeros[:truths], np.zeros(truths))
    return preds, target


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_equals_the_plain_way(seed):
    preds, target = draw(seed)
    mine, classes = average_precision(preds, target, np.array([0.3, 0.5, 0.7]))
    assert classes.tolist() == [0]
    for value, threshold in zip(mine[:, 0], (0.3, 0.5, 0.7), strict=True):
        assert value == pytest.approx(slow_ap(preds, target, threshold), abs=1e-12)


def clips(seed, videos=5, classes=3):
    generator = torch.Generator().manual_seed(seed)

    def some(n, scored):
        start = 10 * torch.rand(n, 1, generator=generator)
        part = {
            "segments": torch.cat([start, start + 0.1 + 5 * torch.rand(n, 1, generator=generator)], 1),
            "labels": torch.randint(0, classes, (n,), generator=generator),
        }
        return part | ({"scores": torch.rand(n, generator=generator).round(decimals=1)} if scored else {})

    preds = [some(6, True) for _ in range(videos)]
    return [f"v{i}" for i in range(videos)], preds, [some(3, False) for _ in range(videos)]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_order_and_batches_change_nothing_even_with_ties(seed, cut):
    names, preds, target = clips(seed)
    whole, parts = EventDetectionMAP(), EventDetectionMAP()
    whole.update(names, preds, target)
    for rows in torch.randperm(5, generator=torch.Generator().manual_seed(seed)).split(cut):
        parts.update(*([x[i] for i in rows.tolist()] for x in (names, preds, target)))
    assert parts.compute() == whole.compute()
    assert all(0 <= v <= 1 for v in whole.compute().values())
    perfect = EventDetectionMAP()
    perfect.update(names, [{**t, "scores": torch.ones(len(t["labels"]))} for t in target], target)
    assert set(perfect.compute().values()) == {1.0}


def test_names_thresholds_and_half_precision():
    metric = EventDetectionMAP()
    assert list(metric.compute()) == [f"mAP@0.{i}" for i in range(1, 10)] + ["Avg"]
    assert all(np.isnan(v) for v in metric.compute().values())
    half = {"segments": torch.tensor([[0.0, 1.0]]).half(), "labels": torch.tensor([0]), "scores": torch.ones(1).half()}
    metric.update(["a"], [half], [half])
    assert metric.compute()["Avg"] == 1


def test_a_true_event_is_found_above_the_overlap_by_its_own_class_in_its_own_video():
    target = events((0, 0.0, 4.0, 0), (0, 10.0, 30.0, 0), (1, 0.0, 4.0, 0), (1, 0.0, 4.0, 1))
    assert localised(events((0, 0.0, 4.0, 0, 0.1)), target).tolist() == [True, False, False, False]
    assert localised(events((1, 0.0, 4.0, 1, 0.1), (2, 0.0, 4.0, 0, 0.1)), target).tolist() == [False] * 3 + [True]
    half = events((0, 0.0, 2.0, 0, 0.9), (0, 10.0, 20.1, 0, 0.9))  # the overlap must exceed a half
    assert localised(half, target).tolist() == [False, True, False, False]
    assert localised(half, target, 0.49).tolist() == [True, True, False, False]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_localised_equals_the_plain_way(seed):
    preds, target = draw(seed)
    for i, found in enumerate(localised(preds, target, 0.4).tolist()):
        same = [j for j in range(len(preds.video)) if preds.video[j] == target.video[i]]
        assert found == any(temporal_iou(preds.span[j], target.span[i]) > 0.4 for j in same)


def test_recall_by_duration_is_of_true_events():
    metric = EventRecall()
    nothing = {"segments": np.zeros((0, 2)), "labels": np.zeros(0, int), "scores": np.zeros(0)}
    assert list(metric.compute()) == ["(0, 5] s", "(5, 20] s", "(20, 60] s"]
    assert all(np.isnan(value) for value in metric.compute().values())
    true = {"segments": [[0, 5], [7.3, 12.3], [10, 15.1], [20, 40], [0, 61]], "labels": [0, 1, 0, 0, 0]}
    # the short detection beside a long event is no short event that was missed, as it would be for a precision
    guess = {
        "segments": [[0, 4.5], [0.5, 5], [30, 31], [21, 40]],
        "labels": [0, 0, 0, 0],
        "scores": [0.9, 0.8, 0.7, 0.1],
    }
    metric.update(["a", "b"], [guess, nothing], [true, {"segments": [[1, 2]], "labels": [0]}])
    rows = metric.compute_rows()
    assert {name: (row.value, row.n, row.counted) for name, row in rows.items()} == {
        "(0, 5] s": (pytest.approx(1 / 3), 3, "events"),
        "(5, 20] s": (0.5, 2, "events"),
        "(20, 60] s": (pytest.approx(np.nan, nan_ok=True), 0, "events"),
    }
    assert rows["(0, 5] s"].low <= 1 / 3 <= rows["(0, 5] s"].high


def test_the_task_reports_recall_by_duration():
    task = DenseEvents(Vocabulary(classes=["dog", "cat"]))
    batch = collate(
        [Item("a", 30.0, audio=torch.zeros(30, 1), targets={"events": torch.tensor([[1.0, 4, 0], [5, 20, 1]])})],
        "davel",
    )
    evaluator = Evaluator({"davel": task})
    evaluator.update(Prediction("davel", ["a"], {"event_list": [torch.tensor([[1.0, 4.2, 0, 0.9]])]}), batch)
    rows = evaluator.compute_rows("davel")
    assert [(rows[f"recall {name}"].value, rows[f"recall {name}"].n) for name in ("(0, 5] s", "(5, 20] s")] == [
        (1, 1),
        (0, 1),
    ]


def test_recall_by_duration_refuses_what_it_cannot_use():
    with pytest.raises(ValueError, match=r"edges=\[5, 0\]; give two or more ascending durations"):
        EventRecall([5, 0])
    with pytest.raises(ValueError, match="threshold=1; give a temporal IoU from 0 to below 1"):
        EventRecall(threshold=1)
    with pytest.raises(ValueError, match=r"target\['a'\] has segment \[2.0, 1.0\]"):
        EventRecall().update(
            ["a"], [{"segments": [], "labels": [], "scores": []}], [{"segments": [[2, 1]], "labels": [0]}]
        )


def test_errors_say_what_to_do():
    metric, good = EventDetectionMAP(), {"segments": torch.tensor([[0.0, 1.0]]), "labels": torch.tensor([0])}
    scored = {**good, "scores": torch.ones(1)}
    with pytest.raises(ValueError, match=r"preds\['a'\] has no scores; it has segments, labels"):
        EventDetectionMAP().update(["a"], [{"segments": torch.zeros(1, 2), "labels": torch.tensor([0])}], [{}])
    with pytest.raises(ValueError, match="1 videos, 2 of detections and 1 of targets"):
        metric.update(["a"], [scored] * 2, [good])
    for change, message in (
        ({"segments": torch.tensor([[2.0, 1.0]])}, r"preds\['a'\] has segment \[2.0, 1.0\]; give 0 <= start <= end"),
        ({"segments": torch.tensor([[-1.0, 1.0]])}, r"has segment \[-1.0, 1.0\]"),
        ({"segments": torch.zeros(1, 3)}, r"segments \(1, 3\), 1 labels and 1 scores"),
        ({"labels": torch.tensor([-1])}, "give whole numbers from 0"),
        ({"labels": torch.tensor([0.5])}, "torch.float32 labels"),
        ({"scores": torch.tensor([torch.nan])}, "a time or a score that is not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            metric.update(["a"], [{**scored, **change}], [good])
    with pytest.raises(ValueError, match="Unknown rule for ties 'later'"):
        EventDetectionMAP(ties="later")
    with pytest.raises(ValueError, match="Unknown rule for unknown labels 'keep'"):
        EventDetectionMAP(unknown="keep")
    with pytest.raises(ValueError, match="above 0 and up to 1"):
        EventDetectionMAP(thresholds=[0.5, 1.5])


def recorded(case):
    data = np.load(case.with_suffix(".npz"))
    for name, info in json.loads(case.with_suffix(".json").read_text()).items():
        number = {video: i for i, video in enumerate(info["video_names"])}
        rows = []
        for video, entry in info["database"].items():
            if entry["subset"].lower() == "test" and entry["annotations"]:
                span = np.array([a["segment"] for a in entry["annotations"]], float)
                label = np.array([a["label_id"] for a in entry["annotations"]])
                keep = without_duplicates(span, label)
                at = number.setdefault(video, len(number))
                rows += [(at, *s, k) for s, k in zip(span[keep].tolist(), label[keep].tolist(), strict=True)]
        span = np.stack([data[f"{name}_start"], data[f"{name}_end"]], 1).astype(float)
        video, label, score = (data[f"{name}_{key}"] for key in ("vid", "label", "score"))
        yield name, data, EventTable(video.astype(int), span, label, score.astype(float)), events(*rows)


@pytest.mark.parametrize("case", golden_cases("metrics/davel"))
def test_golden(case):
    for name, data, preds, target in recorded(case):
        assert len(target.video) == int(data[f"{name}_official_num_gt"]), name
        for ties in ("later_first", "earlier_first"):
            table, classes = average_precision(preds, target, data["tiou"], ties)
            key = f"{name}_{ties.replace('_', '')}_map"
            if key in data:
                np.testing.assert_allclose(table.mean(1), data[key], atol=1e-9)
            elif len(np.unique(preds.score)) == len(preds.score):
                np.testing.assert_array_equal(classes, data[f"{name}_official_classes"])
                np.testing.assert_allclose(table, data[f"{name}_official_ap"], atol=1e-9)
                np.testing.assert_allclose(table.mean(1), data[f"{name}_official_map"], atol=1e-9)
                assert table.mean() == pytest.approx(float(data[f"{name}_official_avg"]), abs=1e-9)
