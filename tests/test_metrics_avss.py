# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
import torch
from golden import golden_cases

from avkit.metrics.avss import SemanticMask, class_scores, predict_labels


def slow_scores(predicted, target, num_classes):
    """Frame-averaged IoU and F of every class, NaN where it never occurs; plain loops in float64."""
    iou, f, count = np.zeros(num_classes), np.zeros(num_classes), np.zeros(num_classes)
    for p, t in zip(predicted.numpy(), target.numpy(), strict=True):
        for k in range(num_classes):
            both, union = ((p == k) & (t == k)).sum(), ((p == k) | (t == k)).sum()
            if not union:
                continue
            count[k] += 1
            iou[k] += both / union
            if both:
                precision, recall = both / (p == k).sum(), both / (t == k).sum()
                f[k] += 1.3 * precision * recall / (0.3 * precision + recall)
    with np.errstate(invalid="ignore"):
        return iou / count, f / count


@pytest.fixture
def labels():
    """Two clips of four frames, eight classes of which 6 never occurs and 5 is only a false alarm."""
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(0, 5, (2, 4, 6, 7), generator=generator)
    target[1, 2] = 7
    predicted = torch.where(torch.rand(target.shape, generator=generator) > 0.4, target, 0)
    predicted[0, 1, :2] = 5
    return predicted, target


def test_one_class_of_a_hand_made_frame():
    predicted, target = torch.tensor([[[0, 1], [1, 2]]]), torch.tensor([[[0, 0], [1, 1]]])
    iou, f, present = class_scores(predicted, target, 4)
    half = 1.3 * 0.5 * 0.5 / (0.3 * 0.5 + 0.5)
    torch.testing.assert_close(iou, torch.tensor([[1 / 2, 1 / 3, 0, 0]]))
    torch.testing.assert_close(f, torch.tensor([[1.3 * 0.5 / (0.3 + 0.5), half, 0, 0]]))
    assert present.tolist() == [[True, True, True, False]]


def test_perfect_prediction_counts_absent_classes_as_zero():
    target = torch.tensor([0, 1]).view(1, 1, 1, 2)
    official, clean = SemanticMask(4), SemanticMask(4, variant="clean")
    assert official(target, target) == pytest.approx({"mIoU": 0.5, "F": 0.5, "mIoU_noBg": 2 / 3, "F_noBg": 2 / 3})
    assert clean(target, target) == pytest.approx({"mIoU": 1, "F": 1, "mIoU_noBg": 1, "F_noBg": 1})


def test_equals_slow_reference_in_both_variants(labels):
    iou, f = slow_scores(*(x.flatten(0, 1) for x in labels), 8)
    official, clean = SemanticMask(8), SemanticMask(8, variant="clean")
    for metric in (official, clean):
        for p, t in zip(*labels, strict=True):
            metric.update(p[None], t[None].to(torch.uint8))
    zero = [np.nan_to_num(x) for x in (iou, f, iou[:-1], f[:-1])]
    names = ("mIoU", "F", "mIoU_noBg", "F_noBg")
    assert official.compute() == pytest.approx(dict(zip(names, map(np.mean, zero), strict=True)), abs=1e-6)
    expected = map(np.nanmean, (iou, f, iou[1:], f[1:]))
    assert clean.compute() == pytest.approx(dict(zip(names, expected, strict=True)), abs=1e-6)


def test_logits_and_labels_agree(labels):
    predicted, target = labels
    logits = torch.nn.functional.one_hot(predicted, 8).movedim(-1, 2) * 9.0 - 4
    assert torch.equal(predict_labels(logits), predicted)
    assert SemanticMask(8)(logits, target) == SemanticMask(8)(predicted, target)


def test_softmax_makes_equals_and_the_lowest_class_wins():
    logits = torch.tensor([0.0, 100.0, 100.00001]).view(1, 1, 3, 1, 1)
    assert logits.argmax(2).item() == 2
    logits = torch.tensor([0.0, 1e-8, -200.0]).view(1, 1, 3, 1, 1)
    assert logits.argmax(2).item() == 1
    assert predict_labels(logits).item() == 0


def test_frames_that_are_not_valid_do_not_count(labels):
    predicted, target = labels
    valid = torch.ones(2, 4, dtype=torch.bool)
    valid[0, 2:] = False
    expected = SemanticMask(8)(predicted[valid][None], target[valid][None])
    assert SemanticMask(8)(predicted, target, valid) == expected


def test_nothing_to_score_is_nan():
    assert all(np.isnan(value) for value in SemanticMask().compute().values())
    metric = SemanticMask(3)
    metric.update(torch.zeros(1, 1, 2, 2).long(), torch.zeros(1, 1, 2, 2).long(), torch.zeros(1, 1, dtype=torch.bool))
    assert all(np.isnan(value) for value in metric.compute().values())


def test_errors_say_what_to_do():
    y = torch.zeros(1, 2, 3, 3, dtype=torch.long)
    with pytest.raises(ValueError, match=r"logits of shape \(1, 2, 5, 3, 3\) have 5 classes, not 71"):
        SemanticMask().update(torch.zeros(1, 2, 5, 3, 3), y)
    with pytest.raises(ValueError, match=r"target of shape \(1, 2, 3, 3\); give logits \(B, T, K, H, W\) or labels"):
        SemanticMask().update(y[..., :2], y)
    with pytest.raises(ValueError, match=r"preds is torch.float32; give integer labels"):
        SemanticMask().update(y.float(), y)
    with pytest.raises(ValueError, match=r"target has labels from 0 to 80; accepted are 0 to 70"):
        SemanticMask().update(y, torch.tensor([0, 80, 0]).expand(1, 2, 3, 3))
    with pytest.raises(ValueError, match=r"valid is torch.int64 .* here \(1, 2\)"):
        SemanticMask().update(y, y, torch.ones(1, 2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"both must be \(N, H, W\)"):
        class_scores(y, y, 3)
    with pytest.raises(ValueError, match=r"Unknown variant 'exact'"):
        SemanticMask(variant="exact")
    with pytest.raises(ValueError, match=r"num_classes=1; give 2 or more"):
        SemanticMask(1)


NAMES = {"mIoU": "miou", "F": "f", "mIoU_noBg": "miou_nobg", "F_noBg": "f_nobg"}


def check(data, run, metric):
    for name, value in metric.compute().items():
        assert value == pytest.approx(float(data[f"official_{run}_{NAMES[name]}"]), abs=1e-6), name
    np.testing.assert_array_equal(metric.count, data[f"official_{run}_count"])
    np.testing.assert_allclose(metric.iou_sum, data[f"official_{run}_iou_sum"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(metric.f_sum, data[f"official_{run}_f_sum"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", golden_cases("metrics/avss"))
def test_golden_labels(case):
    data = np.load(case.with_suffix(".npz"))
    preds, target = torch.from_numpy(data["pred_label"]), torch.from_numpy(data["gt_label"])
    runs = [match[1] for key in data if (match := re.fullmatch(r"official_(batch\d+)_count", key))]
    assert runs
    for run in runs:
        metric = SemanticMask(len(data[f"official_{run}_count"]))
        # frames are scored one by one, so the case need not tell how many a video has
        frames = len(data["small_gt"]) * int(run.removeprefix("batch"))
        for p, t in zip(preds.split(frames), target.split(frames), strict=True):
            metric.update(p[None], t[None])
        check(data, run, metric)
        iou, _, _ = class_scores(preds, target, metric.num_classes)
        np.testing.assert_allclose(iou.sum(1) / (iou > 0).sum(1), data[f"official_{run}_frame_miou"], atol=1e-6)


@pytest.mark.parametrize("case", golden_cases("metrics/avss"))
def test_golden_logits(case):
    data = np.load(case.with_suffix(".npz"))
    logits, target = torch.from_numpy(data["small_logits"])[None], torch.from_numpy(data["small_gt"])[None]
    np.testing.assert_array_equal(predict_labels(logits)[0], data["small_argmax_softmax"])
    assert (logits.argmax(2)[0].numpy() != data["small_argmax_softmax"]).any()
    metric = SemanticMask(logits.shape[2])
    metric.update(logits, target)
    check(data, "small", metric)


def test_pooled_is_the_confusion_matrix():
    predicted = torch.tensor([[[[0, 1], [1, 1]], [[2, 2], [0, 0]]]])
    target = torch.tensor([[[[0, 1], [1, 0]], [[1, 2], [0, 0]]]])
    metric = SemanticMask(4, "pooled")
    metric.update(predicted[:, :1], target[:, :1])
    metric.update(predicted[:, 1:], target[:, 1:])
    values = metric.compute()
    assert values["mIoU"] == pytest.approx((3 / 4 + 2 / 4 + 1 / 2) / 3)
    assert values["mIoU_noBg"] == pytest.approx((2 / 4 + 1 / 2) / 2)


@pytest.mark.parametrize("scale", [1e-7, 1e-3, 1.0, 300.0])
def test_labels_are_those_of_the_softmax_even_where_classes_are_nearly_equal(scale):
    logits = (torch.randn(2, 3, 7, 90, 70, generator=torch.Generator().manual_seed(0)) * scale).round(decimals=7)
    logits[0, 0, 3] = logits[0, 0, 1]
    want = torch.stack([clip.softmax(1).argmax(1) for clip in logits])
    assert torch.equal(predict_labels(logits), want)
    assert torch.equal(predict_labels(logits[:0]), want[:0])
    with pytest.raises(ValueError, match="NaN or infinity"):
        predict_labels(logits.index_fill(2, torch.tensor(4), torch.nan))
