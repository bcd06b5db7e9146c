# SPDX-License-Identifier: Apache-2.0
"""Scores with what they count and their 95 % intervals."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from test_metrics_ddp import make_metrics, update

from avkit.metrics import AnswerAccuracy, CaptionScores, EventDetectionMAP, MaskFScore, MaskIoU, SegmentAccuracy
from avkit.metrics.base import BLOCKS, clip_number
from avkit.metrics.intervals import bootstrap, bootstrap_interval, resample_counts, wilson


@pytest.mark.parametrize(("correct", "n"), [(0, 1), (1, 1), (0, 28), (9, 28), (28, 28), (500, 9185)])
def test_wilson_is_that_of_scipy(correct, n):
    want = binomtest(correct, n).proportion_ci(0.95, "wilson")
    assert wilson(correct, n) == pytest.approx((want.low, want.high), abs=1e-12)


def test_wilson_refuses_what_is_no_share():
    with pytest.raises(ValueError, match="3 of 2 answers right"):
        wilson(3, 2)
    with pytest.raises(ValueError, match="0 of 0 answers right; give 1 or more"):
        wilson(0, 0)


def test_draws_are_those_of_as_many_units_with_replacement_and_always_the_same():
    counts = resample_counts(40)
    assert counts.shape == (1000, 40)
    assert (counts.sum(1) == 40).all()
    assert counts.mean(0) == pytest.approx(np.ones(40), abs=0.15)
    np.testing.assert_array_equal(counts, resample_counts(40))


def test_the_interval_of_a_mean_covers_it():
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        values = random.beta(2, 5, 40)
        sums = np.stack([np.ones(40), values], 1)
        draws = bootstrap(sums, lambda sums: {"mean": sums[:, 1] / sums[:, 0]})["mean"]
        low, high = bootstrap_interval(values.mean(), draws)
        assert low <= values.mean() <= high
        covered += low <= 2 / 7 <= high
    assert 0.9 <= covered / 300 <= 0.98


def test_draws_that_do_not_differ_give_no_interval():
    assert bootstrap_interval(1.0, np.ones(1000)) is None
    assert bootstrap_interval(math.nan, np.arange(9.0)) is None


NAMES = [f"clip {number}" for number in range(3)]


def by_name(metrics, clips):
    """Update with the clips of `NAMES` by number, each under a name of its own, and give the scores of all metrics."""
    for clip in clips:
        for metric in metrics:
            if isinstance(metric, EventDetectionMAP):
                metric.reset()  # it takes each video once
        update(metrics, [clip], named=True)
    results = [metric.compute() for metric in metrics]
    return [result if isinstance(result, dict) else {"": float(result)} for result in results]


def test_draws_of_every_metric_are_its_scores_of_the_drawn_clips():
    metrics = make_metrics()
    update(metrics, range(3), named=True)
    order = sorted(range(3), key=lambda clip: clip_number(NAMES[clip]) % BLOCKS)
    counts = resample_counts(3)
    rows = [metric.compute_rows() for metric in metrics]
    compared = 0
    for draw in range(12):
        drawn = [order[unit] for unit in np.repeat(np.arange(3), counts[draw].astype(int))]
        scores = by_name(make_metrics(), drawn)
        for metric, own_rows, want in zip(metrics, rows, scores, strict=True):
            if isinstance(metric, EventDetectionMAP):
                continue  # its draws are compared below
            assert own_rows.keys() == want.keys()
            for name in set(want) - {"CIDEr"}:  # of which the weights of words are those of the whole set
                assert own_rows[name].draws[draw] == pytest.approx(want[name], abs=1e-6, nan_ok=True), (metric, name)
                compared += 1
    assert compared > 300


def test_draws_of_average_precision_are_those_of_copied_videos():
    generator = torch.Generator().manual_seed(0)

    def some(count):
        start = 10 * torch.rand(count, 1, generator=generator)
        segments = torch.cat([start, start + 1 + 4 * torch.rand(count, 1, generator=generator)], 1)
        labels = torch.randint(0, 2, (count,), generator=generator)
        return {"segments": segments, "labels": labels, "scores": torch.rand(count, generator=generator)}

    videos = {f"v{number}": (some(8), some(3)) for number in range(6)}
    metric = EventDetectionMAP()
    for name, (preds, target) in videos.items():
        metric.update([name], [preds], [target])
    rows = metric.compute_rows()
    order = sorted(videos, key=lambda name: clip_number(name) % BLOCKS)
    for draw, counts in enumerate(resample_counts(6)[:20]):
        copied = EventDetectionMAP()
        for name, count in zip(order, counts, strict=True):
            for copy in range(int(count)):
                copied.update([f"{name} {copy}"], [videos[name][0]], [videos[name][1]])
        for name, value in copied.compute().items():
            assert rows[name].draws[draw] == pytest.approx(value, abs=1e-9)


def test_every_score_has_a_row_whose_interval_holds_it():
    metrics = make_metrics()
    update(metrics, range(3), named=True)
    for metric in metrics:
        values = metric.compute()
        rows = metric.compute_rows()
        assert list(rows) == (list(values) if isinstance(values, dict) else [""])
        for name, row in rows.items():
            if not math.isnan(row.value) and name not in metric.unbounded:
                assert row.low <= row.value <= row.high, (metric, name)
                assert row.n == 3, (metric, name)
                assert row.counted in ("clips", "videos", "events", "questions")


def test_questions_of_a_type_are_what_its_row_counts():
    metric = AnswerAccuracy()
    types = ["Audio Counting"] * 28 + ["Visual Location"] * 72
    scores = torch.eye(2)[torch.tensor([0] * 50 + [1] * 50)]
    metric.update(scores, torch.zeros(100, dtype=torch.long), types, [f"clip {number // 4}" for number in range(100)])
    rows = metric.compute_rows()
    assert (rows["Audio Counting"].n, rows["Audio Counting"].counted) == (28, "questions")
    assert (rows["Audio Counting"].low, rows["Audio Counting"].high) == wilson(28, 28)
    assert (rows["Visual Location"].low, rows["Visual Location"].high) == wilson(22, 72)
    assert rows["Overall"].n == rows["Macro"].n == 100
    assert rows["Macro"].low < rows["Macro"].value < rows["Macro"].high
    assert (rows["Visual Counting"].n, rows["Visual Counting"].low) == (0, None)


def test_parts_of_a_clip_count_as_one():
    captions = CaptionScores("plain", meteor=False)
    captions.update(["a dog", "a cat", "a man"], ["a dog", "a cow", "a man"], ["x", "x", "y"])
    assert captions.compute_rows()["BLEU-1"].n == 2
    segments = SegmentAccuracy(3)
    segments.update(torch.eye(3)[None].repeat(2, 1, 1), torch.tensor([[0, 1, 2], [0, 0, 0]]), clips=["x", "y"])
    row = segments.compute_rows()["accuracy"]
    assert row.n == 2
    assert row.low < 1 / 3 + 1e-9
    assert row.high == pytest.approx(1)


def test_all_right_is_no_proof_of_being_always_right():
    metric = SegmentAccuracy(3)
    metric.update(torch.eye(3)[None].repeat(5, 1, 1), torch.tensor([[0, 1, 2]] * 5))
    row = metric.compute_rows()["accuracy"]
    assert (row.low, row.high) == wilson(5, 5)


def test_nothing_scored_has_no_interval():
    for metric in make_metrics():
        for row in metric.compute_rows().values():
            assert math.isnan(row.value)
            assert (row.n, row.low, row.high) == (0, None, None)


def test_order_and_batches_of_named_clips_change_no_draw():
    one, other = make_metrics(), make_metrics()
    update(one, range(3), named=True)
    update(other, [2, 0, 1], named=True)
    for first, second in zip(one, other, strict=True):
        rows = first.compute_rows()
        for name, row in second.compute_rows().items():
            np.testing.assert_allclose(row.draws, rows[name].draws, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("videos_per_call", [1, 2])
def test_frames_that_do_not_count_are_no_clips(videos_per_call):
    logits = torch.tensor([5.0, -5.0]).expand(4, 1, 1, 2)
    target = torch.zeros(4, 1, 1, 2)
    target[:2] = torch.tensor([1.0, 0.0])
    valid = torch.tensor([[True], [True], [True], [False]])
    for metric, clips in ((MaskIoU(videos_per_call), 3), (MaskIoU(variant="clean"), 2), (MaskFScore(), 3)):
        metric.update(logits, target, valid)
        assert metric.compute_rows()[""].n == clips
