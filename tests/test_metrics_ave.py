# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from golden import golden_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from avkit.metrics import SegmentAccuracy


def test_by_hand():
    scores = torch.tensor([[[3.0, 1.0, 2.0], [0.0, 1.0, 1.0]], [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]])
    metric = SegmentAccuracy(3)
    metric.update(scores, torch.tensor([[0, 2], [0, 2]]))
    assert metric.compute() == {"accuracy": 0.75}  # the tie between 1 and 2 goes to 1, the one of all to 0
    metric.reset()
    assert np.isnan(metric.compute()["accuracy"])


def test_one_hot_rows_and_padding():
    scores = torch.eye(3)[None].repeat(2, 1, 1)
    rows = torch.tensor([[[1, 0, 0], [0, 1, 1], [0, 0, 0]]]).repeat(2, 1, 1)  # two ones: the lower; none: class 0
    metric = SegmentAccuracy(3)
    metric.update(scores, rows)
    assert metric.compute()["accuracy"] == pytest.approx(2 / 3)
    metric.reset()
    metric.update(scores, rows, torch.tensor([[True, True, False]] * 2))
    assert metric.compute()["accuracy"] == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_type(dtype):
    metric = SegmentAccuracy(3)
    metric.update(torch.eye(3)[None].to(dtype), torch.tensor([[0, 1, 2]]))
    assert metric.compute()["accuracy"] == 1


def test_softmax_merges_what_float32_cannot_tell():
    scores, target = torch.tensor([[[0.0, 2e-8]]]), torch.tensor([[1]])
    plain, merged = SegmentAccuracy(2), SegmentAccuracy(2, softmax=True)
    for metric in (plain, merged):
        metric.update(scores, target)
    assert plain.compute()["accuracy"] == 1
    assert merged.compute()["accuracy"] == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 5))
def test_order_and_batches_change_nothing(seed, videos, cut):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(videos, 4, 5, generator=generator)
    target = torch.randint(0, 5, (videos, 4), generator=generator)
    whole, parts = SegmentAccuracy(5), SegmentAccuracy(5)
    whole.update(scores, target)
    order = torch.randperm(videos, generator=generator)
    for rows in order.split(cut):
        parts.update(scores[rows], target[rows])
    assert parts.compute() == whole.compute()
    assert 0 <= whole.compute()["accuracy"] <= 1
    perfect = SegmentAccuracy(5)
    perfect.update(torch.nn.functional.one_hot(target, 5), target)
    assert perfect.compute()["accuracy"] == 1


def test_errors_say_what_to_do():
    y = torch.zeros(1, 2, dtype=torch.long)
    with pytest.raises(ValueError, match=r"scores of shape \(1, 2, 4\) .* give scores \(B, T, 29\)"):
        SegmentAccuracy().update(torch.zeros(1, 2, 4), y)
    with pytest.raises(ValueError, match="scores has NaN"):
        SegmentAccuracy(3).update(torch.full((1, 2, 3), torch.nan), y)
    with pytest.raises(ValueError, match=r"values \[0, 3\]; give integers from 0 to 2"):
        SegmentAccuracy(3).update(torch.zeros(1, 2, 3), torch.tensor([[0, 3]]))
    with pytest.raises(ValueError, match=r"valid is torch.bool of shape \(2,\); give .* here \(1, 2\)"):
        SegmentAccuracy(3).update(torch.zeros(1, 2, 3), y, torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="num_classes=1; give 2 or more"):
        SegmentAccuracy(1)


@pytest.mark.parametrize("case", golden_cases("metrics/ave"))
def test_golden(case):
    data = np.load(case.with_suffix(".npz"))
    logits, labels = torch.from_numpy(data["logits"]), torch.from_numpy(data["labels"])
    for key, softmax in (("official_acc", False), ("official_acc_psp", False), ("official_acc_psp_weak_softmax", True)):
        metric = SegmentAccuracy(logits.shape[2], softmax)
        for x, y in zip(logits.split(17), labels.split(17), strict=True):
            metric.update(x, y)
        assert metric.compute()["accuracy"] == pytest.approx(float(data[key]), abs=1e-12), key
