# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from golden import golden_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from avkit.metrics import SourceLocalization
from avkit.metrics.ssl import annotators_to_map, boxes_to_map, consensus_iou, pixel_precision, regions
from avkit.nn.heatmap import combine_heatmaps, normalise_heatmaps, resize_heatmaps


def ramp(side=4):
    return torch.arange(side * side, dtype=torch.float32).view(1, side, side)


@pytest.mark.parametrize(("protocol", "kept"), [("ez_vsl", 8), ("lvs", 7)])
def test_half_of_distinct_pixels(protocol, kept):
    assert regions(ramp(), protocol).sum() == kept


@pytest.mark.parametrize(
    ("value", "protocol", "kept"), [(2.0, "ez_vsl", 16), (-2.0, "ez_vsl", 16), (2.0, "lvs", 16), (-2.0, "lvs", 0)]
)
def test_constant_maps(value, protocol, kept):
    assert regions(torch.full((1, 4, 4), value), protocol).sum() == kept


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**31), st.sampled_from([0.0, 1.0, -7.0, 1e4]), st.sampled_from([1e-6, 1.0, 300.0]), st.booleans()
)
def test_the_cut_takes_what_normalising_every_pixel_takes(seed, shift, scale, steps):
    maps = np.random.default_rng(seed).normal(size=(3, 13, 11)).astype(np.float32)
    maps = (np.round(maps * 2) / 2 if steps else maps) * np.float32(scale) + np.float32(shift)
    for protocol in ("ez_vsl", "lvs"):
        for one, region in zip(maps, regions(torch.from_numpy(maps), protocol).numpy(), strict=True):
            raw = one if protocol == "ez_vsl" else -one
            width = raw.max() - raw.min()
            x = (raw - raw.min()) / width if width else raw
            x = x if protocol == "ez_vsl" else 1 - x
            middle = np.sort(x, axis=None)[x.size // 2]
            want = x >= middle if protocol == "ez_vsl" else (x > middle) | (x >= 1)
            np.testing.assert_array_equal(region, want)


def test_ciou_by_hand():
    region = torch.tensor([[[True, True], [True, False]]])
    assert consensus_iou(region, torch.tensor([[[1.0, 0.5], [0.0, 0.5]]])).item() == pytest.approx(1.5 / 3)
    assert consensus_iou(region, torch.zeros(1, 2, 2)).item() == 0
    assert consensus_iou(~region & region, torch.zeros(1, 2, 2)).item() == 0


def test_boxes():
    covered = boxes_to_map(torch.tensor([[-0.1, 0.0, 0.5, 0.5], [0.75, 0.75, 2.0, 1.0], [0.9, 0.2, 0.1, 0.3]]), 8)
    want = torch.zeros(8, 8)
    want[:4, :4] = want[6:, 6:] = 1
    assert torch.equal(covered, want)
    assert boxes_to_map(torch.full((2, 4), torch.nan)).sum() == 0
    both = annotators_to_map(torch.tensor([[0, 0, 128, 256], [0, 0, 64, 256], [0, 0, 64, 256], [-1, -1, -1, -1]]), 8)
    assert both[0].tolist() == [1, 1, 0.5, 0.5, 0, 0, 0, 0]
    with pytest.raises(ValueError, match=r"boxes of shape \(4,\); give a tensor \(N, 4\)"):
        boxes_to_map(torch.zeros(4))


def test_resize_and_normalise():
    small = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    corners = resize_heatmaps(small, 4)
    assert corners[0, 0, 0] == 0
    assert corners[0, -1, -1] == 3
    assert resize_heatmaps(small, 4, "lvs")[0, 0].tolist() == [0, 0.25, 0.75, 1]
    assert resize_heatmaps(small.half(), 2).dtype == torch.float32
    assert normalise_heatmaps(ramp()).max() == 1
    torch.testing.assert_close(combine_heatmaps(ramp(), ramp(), 0.3), normalise_heatmaps(ramp()))
    with pytest.raises(ValueError, match=r"alpha=1.5; give a weight from 0 to 1"):
        combine_heatmaps(ramp(), ramp(), 1.5)


def test_pixel_precision_by_hand():
    target = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert pixel_precision(torch.tensor([[[4.0, 3.0], [2.0, 1.0]]]), target).item() == pytest.approx((1 + 2 / 3) / 2)
    assert pixel_precision(torch.ones(1, 2, 2), target).item() == pytest.approx(0.5)
    assert pixel_precision(torch.ones(1, 2, 2), 0 * target).isnan().all()


def metric_of(maps, target, **kwargs):
    metric = SourceLocalization(size=8, **kwargs)
    metric.update(maps, target)
    return metric.compute()


def test_perfect_and_failing():
    target = torch.zeros(2, 8, 8)
    target[:, :4] = 1
    values = metric_of(target, target, clean=True)
    assert values == {"cIoU@0.5": 1, "AUC": 1, "mean_cIoU": 1, "cIoU_adaptive": 1, "pixel_AP": 1}
    failing = metric_of(1 - target, target)
    assert failing["cIoU@0.5"] == 0
    assert failing["AUC"] == pytest.approx(0.025)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.sampled_from(["ez_vsl", "lvs"]))
def test_order_and_batches_change_nothing(seed, cut, protocol):
    generator = torch.Generator().manual_seed(seed)
    maps, target = torch.randn(5, 3, 3, generator=generator), (torch.rand(5, 8, 8, generator=generator) > 0.7).float()
    whole = metric_of(maps, target, protocol=protocol, clean=True)
    parts = SourceLocalization(protocol, clean=True, size=8)
    for rows in torch.randperm(5, generator=generator).split(cut):
        parts.update(maps[rows], target[rows])
    parts.update(maps[:0], target[:0])
    assert parts.compute() == pytest.approx(whole, abs=1e-12)
    assert all(0 <= v <= 1 for v in whole.values())


def test_errors_say_what_to_do():
    metric, target = SourceLocalization(size=8), torch.zeros(1, 8, 8)
    with pytest.raises(ValueError, match=r"give preds \(B, h, w\) and target \(B, 8, 8\)"):
        metric.update(torch.zeros(1, 3, 3), target[:, :7])
    with pytest.raises(ValueError, match="preds has values that are not finite"):
        metric.update(torch.full((1, 3, 3), torch.nan), target)
    with pytest.raises(ValueError, match=r"target has weights outside \[0, 1\]"):
        metric.update(torch.zeros(1, 3, 3), target + 2)
    with pytest.raises(ValueError, match=r"Unknown protocol 'ezvsl'. Did you mean 'ez_vsl'"):
        SourceLocalization("ezvsl")
    assert all(np.isnan(v) for v in SourceLocalization(clean=True).compute().values())


def bits(packed, size):
    return torch.from_numpy(np.unpackbits(packed, axis=1)[:, : size * size].reshape(-1, size, size))


def scored(maps, target, protocol="ez_vsl"):
    metric = SourceLocalization(protocol, size=target.shape[-1])
    for x, y in zip(maps.split(20), target.split(20), strict=True):
        metric.update(x, y)
    return metric.compute()


def load(case):
    """The arrays of a case and its targets; `grey_maps` tells the size at which it was scored."""
    data = np.load(case.with_suffix(".npz"))
    size = data["grey_maps"].shape[-1]
    vgg = torch.stack([boxes_to_map(torch.from_numpy(b), size) for b in data["boxes_vggss"]])
    flickr = torch.stack([annotators_to_map(torch.from_numpy(b), size) for b in data["boxes_flickr"]])
    return data, {"vggss": vgg, "flickr": flickr}


@pytest.mark.parametrize("case", golden_cases("metrics/ssl"))
def test_golden_targets(case):
    data, targets = load(case)
    size = targets["vggss"].shape[-1]
    assert torch.equal(targets["vggss"], bits(data["gt_vggss_bits"], size).float())
    some, full = np.split(np.unpackbits(data["gt_flickr_x2"], axis=1)[:, : 2 * size * size], 2, axis=1)
    np.testing.assert_array_equal(targets["flickr"].flatten(1), (some.astype(np.float32) + full) / 2)


@pytest.mark.parametrize("case", golden_cases("metrics/ssl"))
def test_golden_lvs(case):
    data, targets = load(case)
    maps = torch.from_numpy(data["lvs_heat"])
    region = regions(resize_heatmaps(maps, targets["vggss"].shape[-1], "lvs"), "lvs")
    for name, weights in targets.items():
        np.testing.assert_allclose(consensus_iou(region, weights), data[f"lvs_{name}_ciou"], atol=1e-3)
        values = scored(maps, weights, "lvs")
        assert values["cIoU@0.5"] == pytest.approx(float(data[f"lvs_{name}_ciou50"]), abs=1e-12)
        assert values["AUC"] == pytest.approx(float(data[f"lvs_{name}_auc"]), abs=1e-9)


@pytest.mark.parametrize("case", golden_cases("metrics/ssl"))
def test_golden_ez_vsl(case):
    data, targets = load(case)
    size = targets["vggss"].shape[-1]
    maps = {name: resize_heatmaps(torch.from_numpy(data[f"ez_heat_{name}"]), size) for name in ("av", "obj")}
    maps["av_obj"] = combine_heatmaps(maps["av"], maps["obj"])
    for kind, x in maps.items():
        for name, weights in targets.items():
            np.testing.assert_allclose(consensus_iou(regions(x), weights), data[f"ez_{name}_{kind}_ciou"], atol=1e-3)
            values = scored(x, weights)
            for key, official in (("cIoU@0.5", "ap50"), ("AUC", "auc"), ("mean_cIoU", "mean")):
                want = float(data[f"ez_{name}_{kind}_{official}"])
                assert values[key] == pytest.approx(want, abs=1e-9 if key != "mean_cIoU" else 1e-4)


@pytest.mark.parametrize("case", golden_cases("metrics/ssl"))
def test_golden_maps_with_many_ties(case):
    """These were scored without resizing and normalising: any increasing function of the values keeps the region."""
    data, targets = load(case)
    maps = torch.from_numpy(data["grey_maps"]).float()
    target = targets["vggss"][: len(maps)]
    values = scored(maps, target)
    np.testing.assert_allclose(consensus_iou(regions(maps), target), data["grey_ciou"], atol=1e-12)
    assert values["cIoU@0.5"] == pytest.approx(float(data["grey_ap50"]))
    assert values["AUC"] == pytest.approx(float(data["grey_auc"]))
    assert values["mean_cIoU"] == pytest.approx(float(data["grey_mean"]))
