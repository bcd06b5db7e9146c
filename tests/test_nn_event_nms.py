# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
from golden import golden_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from avkit.nn.event_nms import decode_level, hard_nms, steps_to_seconds, suppress_events, vote_segments
from avkit.nn.soft_nms import soft_nms


def slow_soft_nms(segments, scores, sigma, min_score, method, iou):
    """One class, one segment after the other."""
    one = np.float32(1e-6)
    rows = [[*map(np.float32, s), np.float32(c), i] for i, (s, c) in enumerate(zip(segments, scores, strict=True))]
    turn = 0
    while turn < len(rows):
        best = max(range(turn, len(rows)), key=lambda i: (rows[i][2], -i))
        rows[turn], rows[best] = rows[best], rows[turn]
        a = rows[turn]
        at = turn + 1
        while at < len(rows):
            b = rows[at]
            shared = max(min(a[1], b[1]) - max(a[0], b[0]), np.float32(0))
            overlap = shared / ((a[1] - a[0] + one) + (b[1] - b[0] + one) - shared)
            if method == "gaussian":
                weight = np.exp(overlap * overlap / -np.float32(sigma))
            else:
                weight = (1 - overlap if method == "linear" else 0) if overlap >= np.float32(iou) else 1
            b[2] = np.float32(b[2] * np.float32(weight))
            if b[2] < np.float32(min_score):
                rows[at] = rows[-1]
                rows.pop()
            else:
                at += 1
        turn += 1
    return [r[3] for r in rows], [r[2] for r in rows]


def draw(seed, count, classes=3, steps=None):
    random = np.random.default_rng(seed)
    start = random.random(count) * 20
    segments = np.stack([start, start + 0.2 + 6 * random.random(count)], 1).astype(np.float32)
    scores = random.random(count).astype(np.float32)
    if steps:
        segments, scores = np.round(segments * 2) / 2, np.round(scores * steps) / np.float32(steps)
    return segments.astype(np.float32), scores.astype(np.float32), random.integers(0, classes, count)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 40), st.sampled_from(["gaussian", "linear", "hard"]), st.booleans())
def test_all_classes_at_once_equal_one_after_the_other(seed, count, method, ties):
    segments, scores, labels = draw(seed, count, steps=6 if ties else None)
    rows, kept = soft_nms(segments, scores, 0.4, 0.05, method, 0.5, labels)
    want_rows, want_scores = [], []
    for kind in np.unique(labels):
        mine = np.flatnonzero(labels == kind)
        picked, at = slow_soft_nms(segments[mine], scores[mine], 0.4, 0.05, method, 0.5)
        want_rows += mine[picked].tolist()
        want_scores += at
    assert rows.tolist() == want_rows
    np.testing.assert_allclose(kept, want_scores, rtol=1e-5)


def test_by_hand():
    segments = np.array([[0, 2], [0, 2], [10, 12]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    rows, kept = soft_nms(segments, scores, sigma=0.4)
    assert rows.tolist() == [0, 2, 1]
    np.testing.assert_allclose(kept, [0.9, 0.7, 0.8 * np.exp(-1 / 0.4)], rtol=1e-5)
    assert soft_nms(segments, scores, method="hard", iou_threshold=0.5)[0].tolist() == [0, 2]
    assert soft_nms(segments, scores, max_per_class=1)[0].tolist() == [0]
    assert hard_nms(segments, scores, 0.5).tolist() == [0, 2]
    assert hard_nms(segments, scores, 0.5, np.array([0, 1, 0])).tolist() == [0, 2, 1]
    low = soft_nms(segments, scores * 1e-5)
    assert low[0].tolist() == [0]  # the first pick is never dropped


@pytest.mark.parametrize("options", [{}, {"multiclass": False, "voting": 0.5}, {"soft": False, "iou_threshold": 0.3}])
def test_videos_at_once_equal_one_after_the_other(options):
    videos = [draw(seed, count) for seed, count in enumerate((30, 0, 7, 25))]
    for results, video in zip(suppress_events(videos, max_events=12, **options), videos, strict=True):
        for mine, alone in zip(results, suppress_events([video], max_events=12, **options)[0], strict=True):
            np.testing.assert_array_equal(mine, alone)
    assert suppress_events([]) == []


def test_votes():
    before = np.array([[0, 4], [1, 5], [20, 22]], np.float32)
    scores = np.array([1.0, 3.0, 1.0], np.float32)
    np.testing.assert_allclose(vote_segments(before[:1], before, scores, 0.5), [[0.75, 4.75]])
    np.testing.assert_allclose(
        vote_segments(before[:1], before, scores, 0.5, weigh_by_iou=True),
        [[9 / 14, 4 + 9 / 14]],
        rtol=1e-6,
    )
    assert vote_segments(before[:0], before, scores).shape == (0, 2)


def test_a_level_is_decoded():
    probability = np.array([[0.9, 0.0], [0.2, 0.95], [0.0005, 0.3]], np.float32)
    offsets = np.array([[1.0, 1.0], [0.5, 2.0], [0.001, 0.001]], np.float32)
    segments, scores, labels = decode_level(probability, offsets, np.array([0.0, 2.0, 4.0], np.float32), stride=2)
    assert labels.tolist() == [1, 0, 0]  # the third point's segment is too short
    np.testing.assert_allclose(scores, [0.95, 0.9, 0.2])
    np.testing.assert_allclose(segments, [[1, 6], [-2, 2], [1, 6]])
    assert len(decode_level(probability, offsets, np.arange(3, dtype=np.float32), 2, max_candidates=1)[1]) == 1
    per_class = np.stack([offsets, 2 * offsets], 1)
    assert decode_level(probability, per_class, np.array([0.0, 2, 4], np.float32), 2)[0][0].tolist() == [0, 10]
    np.testing.assert_allclose(steps_to_seconds(segments[:1], 8, 24, 25, duration=2.0), [[0.8, 2.0]])


def test_nothing_and_errors():
    nothing = np.zeros((0, 2)), np.zeros(0), np.zeros(0, int)
    assert all(len(x) == 0 for x in suppress_events([nothing])[0])
    assert len(suppress_events([nothing], soft=False)[0][0]) == 0
    with pytest.raises(ValueError, match=r"segments \(2, 2\), scores \(1,\)"):
        soft_nms(np.zeros((2, 2)), np.zeros(1))
    with pytest.raises(ValueError, match=r"segments has \[2.0, 1.0\]; give start <= end"):
        soft_nms(np.array([[2, 1]]), np.ones(1))
    with pytest.raises(ValueError, match="not finite"):
        hard_nms(np.array([[0, np.nan]]), np.ones(1))
    with pytest.raises(ValueError, match=r"Unknown method 'gauss'. Did you mean 'gaussian'"):
        soft_nms(np.array([[0, 1]]), np.ones(1), method="gauss")


@pytest.mark.parametrize("case", golden_cases("metrics/softnms"))
def test_golden(case):
    data = np.load(case.with_suffix(".npz"))
    methods = {0: "hard", 1: "linear", 2: "gaussian"}
    for one in json.loads(case.with_suffix(".json").read_text()):
        key = one["key"]
        segments, scores = data[f"{key}_segs"], data[f"{key}_scores"]
        if one["kind"] == "softnms":
            method = methods[one["method"]]
            rows, kept = soft_nms(segments, scores, one["sigma"], one["min_score"], method, one["iou"])
            np.testing.assert_array_equal(rows, data[f"{key}_inds"], key)
            np.testing.assert_allclose(np.c_[segments[rows], kept], data[f"{key}_dets"], atol=1e-6)
        elif one["kind"] == "nms":
            np.testing.assert_array_equal(hard_nms(segments, scores, one["iou"]), data[f"{key}_inds"], key)
        else:
            (results,) = suppress_events(
                [(segments, scores, data[f"{key}_labels"])], one["use_soft_nms"], one["multiclass"], one["sigma"],
                one["min_score"], one["iou_threshold"], one["max_seg_num"], one["voting_thresh"],
                weigh_by_iou=one["code"] == "actionformer",
            )  # fmt: skip
            for mine, name in zip(results, ("segs", "scores", "labels"), strict=True):
                np.testing.assert_allclose(mine, data[f"{key}_out_{name}"], rtol=1e-6, atol=1e-6, err_msg=key)
