# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
import torch
from golden import golden_cases

from avkit.metrics.avs import MaskFScore, MaskIoU
from avkit.metrics.mask_scores import THRESHOLDS, f_score, frame_iou, frame_precision_recall, mask_iou


def slow_iou(logits, target):
    scores = []
    for x, y in zip(logits, target, strict=True):
        m, y = torch.sigmoid(x) > 0.5, y.bool()
        if not y.any():
            scores.append(float((~m).sum()) / m.numel())
        else:
            scores.append(float((m & y).sum()) / (float((m | y).sum()) + 1e-7))
    return scores


def slow_curves(logits, target):
    curves = []
    for x, y in zip(logits, target, strict=True):
        if not y.any():
            continue
        curve = []
        for t in torch.linspace(0, 1 - 1e-10, 255):
            m = torch.sigmoid(x) >= t
            hit = float((m & y.bool()).sum())
            p, r = hit / (float(m.sum()) + 1e-20), hit / float(y.sum())
            curve.append(1.3 * p * r / (0.3 * p + r) if p + r > 0 else 0.0)
        curves.append(curve)
    return curves


def slow_f(logits, target):
    curves = slow_curves(logits, target)
    return max(np.mean(curves, axis=0)) if curves else 0.0


@pytest.fixture
def clips():
    """Seven clips of three frames; some frames, and all of clip 2, without truth; logits rich in ties."""
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(7, 3, 9, 11, generator=generator) > 0.7).to(torch.uint8)
    logits = 2 * target.float() + torch.randn(7, 3, 9, 11, generator=generator).mul(4).round() / 2 - 1
    target[2] = 0
    target[4, 1] = 0
    return logits, target


def test_thresholds_end_at_one():
    assert THRESHOLDS[0] == 0
    assert THRESHOLDS[-1] == 1


def test_iou_of_hand_made_frames():
    on, off = 10.0, -10.0
    logits = torch.tensor([[[on, off]], [[on, on]], [[off, off]], [[on, off]], [[off, off]]])
    target = torch.tensor([[[1, 0]], [[1, 0]], [[1, 0]], [[0, 0]], [[0, 0]]])
    torch.testing.assert_close(frame_iou(logits, target, "logits"), torch.tensor([1.0, 0.5, 0.0, 0.5, 1.0]))
    torch.testing.assert_close(mask_iou(logits, target, "logits"), torch.tensor(0.6))


def test_tiny_positive_logit_is_no_prediction():
    logits = torch.tensor([[[6e-8, 10.0]]])
    assert frame_iou(logits, torch.tensor([[[0, 1]]]), "logits").item() == pytest.approx(1)


def test_f_of_hand_made_frames():
    target = torch.tensor([[[1, 0, 0, 0]]])
    assert f_score(torch.tensor([[[4.0, -4, -4, -4]]]), target).item() == pytest.approx(1)
    # everything equal: precision 1/4, recall 1
    assert f_score(torch.zeros(1, 1, 4), target, "logits").item() == pytest.approx(1.3 * 0.25 / (0.3 * 0.25 + 1))
    assert f_score(torch.zeros(2, 1, 4), torch.zeros(2, 1, 4), "logits").item() == 0


def test_precision_and_recall_of_hand_made_frame():
    precision, recall = frame_precision_recall(torch.tensor([[[9.0, 0, -9, 0]]]), torch.tensor([[[1, 1, 0, 0]]]))
    assert precision[0, 0] == 0.5
    assert recall[0, 0] == 1
    assert precision[0, 127].item() == pytest.approx(2 / 3)  # threshold 0.5 is met by sigmoid(0)
    assert recall[0, 128] == 0.5
    assert recall[0, 254] == 0


def test_functions_equal_slow_reference(clips):
    logits, target = (x.flatten(0, 1) for x in clips)
    np.testing.assert_allclose(frame_iou(logits, target, "logits"), slow_iou(logits, target), atol=1e-6)
    assert f_score(logits, target, "logits").item() == pytest.approx(slow_f(logits, target), abs=1e-6)


@pytest.mark.parametrize("videos_per_call", [1, 2, 3])
@pytest.mark.parametrize("loader", [1, 4, 7])
def test_official_calls_do_not_depend_on_the_loader(clips, videos_per_call, loader):
    logits, target = clips
    iou, f = MaskIoU(videos_per_call), MaskFScore(videos_per_call)
    for x, y in zip(logits.split(loader), target.split(loader), strict=True):
        iou.update(x, y)
        f.update(x, y)
    calls = list(zip(logits.split(videos_per_call), target.split(videos_per_call), strict=True))
    flat = [(x.flatten(0, 1), y.flatten(0, 1)) for x, y in calls]
    assert iou.compute().item() == pytest.approx(np.mean([np.mean(slow_iou(*call)) for call in flat]), abs=1e-6)
    assert f.compute().item() == pytest.approx(np.mean([slow_f(*call) for call in flat]), abs=1e-6)


def test_clean_variant_is_one_pool_of_frames_with_truth(clips):
    logits, target = clips
    iou, f = MaskIoU(variant="clean"), MaskFScore(variant="clean")
    iou.update(logits, target)
    f.update(logits, target)
    x, y = logits.flatten(0, 1), target.flatten(0, 1)
    true = y.bool().flatten(1).any(1)
    assert iou.compute().item() == pytest.approx(np.mean(slow_iou(x[true], y[true])), abs=1e-6)
    assert f.compute().item() == pytest.approx(slow_f(x, y), abs=1e-6)


def test_frames_that_are_not_valid_do_not_count(clips):
    logits, target = clips
    valid = torch.ones(7, 3, dtype=torch.bool)
    valid[0, 1:] = False
    valid[3] = False
    spoilt, wrong = logits.clone(), target.clone()
    spoilt[~valid] = float("nan")
    wrong[~valid] = 255
    for metric in (MaskIoU(), MaskFScore()):
        metric.update(spoilt, wrong, valid)
        score = slow_f if isinstance(metric, MaskFScore) else lambda x, y: np.mean(slow_iou(x, y))
        calls = [score(x[v], y[v]) for x, y, v in zip(logits, target, valid, strict=True) if v.any()]
        assert metric.compute().item() == pytest.approx(np.mean(calls), abs=1e-6)


def test_half_precision_and_bool_truth(clips):
    logits, target = clips
    for metric in (MaskIoU(), MaskFScore()):
        expected = metric(logits, target)
        assert metric(logits.bfloat16(), target.bool()) == expected  # these logits are exact in bfloat16
        assert metric(logits, target.float()) == expected


@pytest.mark.parametrize("metric", [MaskIoU, MaskFScore])
def test_nothing_to_score_is_nan(metric):
    assert metric().compute().isnan()
    empty = metric(form="logits")
    empty.update(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, dtype=torch.bool))
    assert empty.compute().isnan()
    silent = metric(variant="clean", form="logits")
    silent.update(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3))
    assert silent.compute().isnan()
    assert mask_iou(torch.zeros(0, 3, 3), torch.zeros(0, 3, 3)).isnan()
    assert f_score(torch.zeros(0, 3, 3), torch.zeros(0, 3, 3)).isnan()


def test_reset_forgets(clips):
    metric = MaskIoU(form="logits")
    metric.update(*clips)
    metric.reset()
    metric.update(torch.full((1, 1, 2, 2), 9.0), torch.ones(1, 1, 2, 2))
    assert metric.compute().item() == pytest.approx(1)


def test_errors_say_what_to_do():
    x = torch.zeros(1, 2, 3, 3)
    with pytest.raises(ValueError, match=r"shape \(1, 2, 3, 3\) and target of shape \(1, 2, 6, 6\).*Resize"):
        MaskIoU().update(x, torch.zeros(1, 2, 6, 6))
    with pytest.raises(ValueError, match=r"both must be \(N, H, W\)"):
        frame_iou(x, x)
    with pytest.raises(ValueError, match=r"torch.bool; give float scores before the sigmoid"):
        MaskIoU(form="logits").update(x.bool(), x)
    with pytest.raises(ValueError, match=r"hold NaN"):
        MaskFScore().update(x / 0, x)
    with pytest.raises(ValueError, match=r"target goes from 0.0 to 255.0; give 0 and 1 only"):
        MaskIoU(form="logits").update(x, torch.tensor([0.0, 255, 0]).expand(1, 2, 3, 3))
    with pytest.raises(
        ValueError, match=r"valid is torch.bool of shape \(2,\); give a bool tensor \(B, T\), here \(1, 2\)"
    ):
        MaskIoU().update(x, x, torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"Unknown variant 'clear'. Did you mean 'clean'"):
        MaskIoU(variant="clear")
    with pytest.raises(ValueError, match=r"videos_per_call=0; give 1 or more"):
        MaskFScore(videos_per_call=0)


def sizes(data, prefix):
    """The numbers of videos per official call that the case has."""
    keys = (re.fullmatch(rf"official_{prefix}per_batch(\d+)", key) for key in data)
    return [int(key[1]) for key in keys if key]


def load(case):
    data = np.load(case.with_suffix(".npz"))
    logits = torch.from_numpy(data["logits_q"].astype(np.float32) * data["logits_scale"])
    bits = np.unpackbits(data["gt_bits"], axis=1)[:, : logits[0].numel()]
    target = torch.from_numpy(bits).view(logits.shape)
    small = torch.from_numpy(data["small_logits"]), torch.from_numpy(data["small_gt"])
    return data, (logits, target), small


@pytest.mark.parametrize("case", golden_cases("metrics/avs"))
def test_golden_functions(case):
    data, (logits, target), small = load(case)
    np.testing.assert_array_equal(THRESHOLDS, data["thresholds"])
    np.testing.assert_allclose(frame_iou(logits, target, "logits"), data["official_frame_iou"], atol=1e-6)
    frames = [f_score(x[None], y[None], "logits") for x, y in zip(logits, target, strict=True)]
    np.testing.assert_allclose(frames, data["official_frame_f"], atol=1e-6)
    ranges = [key for key in data if re.fullmatch(r"official_pr_frames\d+_\d+", key)]
    assert ranges
    for key in ranges:
        first, last = map(int, re.findall(r"\d+", key))
        frames = slice(first, last + 1)
        curves = torch.stack(frame_precision_recall(logits[frames], target[frames], "logits"), 1)
        np.testing.assert_allclose(curves, data[key], atol=1e-7)
    for prefix, (x, y) in (("", (logits, target)), ("small_", small)):
        assert sizes(data, prefix)
        for size in sizes(data, prefix):
            frames = int(data["frames_per_video"]) * size
            calls = list(zip(x.split(frames), y.split(frames), strict=True))
            official = data[f"official_{prefix}per_batch{size}"]
            np.testing.assert_allclose(
                [[mask_iou(*call, "logits"), f_score(*call, "logits")] for call in calls], official, atol=1e-6
            )


@pytest.mark.parametrize("case", golden_cases("metrics/avs"))
@pytest.mark.parametrize("prefix", ["", "small_"])
def test_golden_classes(case, prefix):
    data, full, small = load(case)
    frames = int(data["frames_per_video"])
    logits, target = (x.unflatten(0, (-1, frames)) for x in (small if prefix else full))
    assert sizes(data, prefix)
    for size in sizes(data, prefix):
        for metric, key in ((MaskIoU(size, form="logits"), "miou"), (MaskFScore(size, form="logits"), "f")):
            for x, y in zip(logits.split(3), target.split(3), strict=True):
                metric.update(x, y)
            official = data[f"official_{prefix}{key}_batch{size}"]
            assert metric.compute().item() == pytest.approx(float(official), abs=1e-6)


def test_pooled_counts_all_pixels_of_the_set_together():
    logits = torch.full((2, 1, 2, 2), -5.0)
    logits[0, 0, 0] = 5.0  # two pixels found, one of them true
    logits[1, 0, 0, 0] = 5.0  # a false alarm
    target = torch.zeros(2, 1, 2, 2, dtype=torch.long)
    target[0, 0, 0, 0] = target[0, 0, 1, 1] = 1
    metric = MaskIoU(variant="pooled")
    for row in range(2):
        metric.update(logits[row : row + 1], target[row : row + 1])
    assert metric.compute().item() == pytest.approx(1 / 4)
    with pytest.raises(ValueError, match="Unknown variant 'pooled'"):
        MaskFScore(variant="pooled")
