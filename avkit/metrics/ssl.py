# SPDX-License-Identifier: Apache-2.0
"""Sound source localisation (VGG-SS, Flickr-SoundNet): cIoU of the better half of a heat map, and its success curve.

Source:
    stoneMo/EZ-VSL at commit 95ff5bff3019, `validate` and `Evaluator`; LVS, hche11/Localizing-Visual-Sounds-the-Hard-Way
    at commit 8fe8cbbf810e, `test.py`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avkit.errors import unknown_name
from avkit.metrics.base import ScoreMetric
from avkit.nn.heatmap import HEATMAP_SIZE, Floats, HeatmapProtocol, heatmap_rows, resize_heatmaps

#: Thresholds of the success curve, in float64 as the official code multiplies them.
_CURVE = torch.arange(21, dtype=torch.double) * 0.05


def boxes_to_map(boxes: Tensor, side: int = HEATMAP_SIZE) -> Tensor:
    """Truth of VGG-SS: the union of boxes, 0 or 1.

    Args:
        boxes: x1 y1 x2 y2 in [0, 1] each, (N, 4); rows of NaN are left out. Values outside are clipped, and reversed or
            empty boxes cover nothing.
        side: Pixels of a side; edges are cut to whole pixels, the far ones excluded.

    Returns:
        float32 (side, side).
    """
    out = torch.zeros(side, side)
    _check_boxes(boxes)
    for x1, y1, x2, y2 in (side * boxes.double().clamp(0, 1)).tolist():
        if x1 == x1:
            out[int(y1) : int(y2), int(x1) : int(x2)] = 1
    return out


def annotators_to_map(boxes: Tensor, side: int = HEATMAP_SIZE, grid: int = 256) -> Tensor:
    """Truth of Flickr-SoundNet: half the number of annotators whose box holds the pixel, at most 1.

    Args:
        boxes: x1 y1 x2 y2 in pixels of a picture of `grid`, one box per annotator, (N, 4); negative rows are left out.
        side: Pixels of a side.
        grid: Pixels of a side on which the boxes were drawn.

    Returns:
        float32 (side, side): 0, 0.5 or 1.
    """
    out = torch.zeros(side, side)
    _check_boxes(boxes)
    for row in boxes.tolist():
        if row[0] >= 0:
            x1, y1, x2, y2 = (int(side * x / grid) for x in row)
            out[y1:y2, x1:x2] += 1
    return (out / 2).clamp(max=1)


def regions(maps: Tensor, protocol: HeatmapProtocol = "ez_vsl") -> Tensor:
    """The half of each map that is taken for the source.

    Args:
        maps: float32 (N, H, W), as the network gives them after `resize_heatmaps`.
        protocol: `ez_vsl` takes pixels at or above the upper median of the normalised map, ties included. `lvs` takes
            those above it or at its maximum; of a constant map everything if it is not negative, else nothing.

    Returns:
        bool (N, H, W), on the CPU.
    """
    rows = heatmap_rows(maps)
    place, scratch = rows.shape[1] // 2, np.empty_like(rows[:1]).reshape(-1)
    low, middle, high = (np.empty((len(rows), 1), np.float32) for _ in range(3))
    for number, row in enumerate(rows):
        scratch[:] = row
        scratch.partition(place)
        low[number], middle[number], high[number] = scratch[: place + 1].min(), scratch[place], scratch[place:].max()
    return torch.from_numpy(rows >= _cut(low, middle, high, protocol)).view(maps.shape)


def _cut(low: Floats, middle: Floats, high: Floats, protocol: HeatmapProtocol) -> Floats:
    """The least value of each map that belongs to its region, found by halving instead of normalising every pixel.

    Normalising keeps the order of pixels but may make equals of them, so the cut is the least float32 whose normalised
    value is in the region, at or below `high`; NaN where nothing is.
    """
    flat, scale = low == high, high - low
    scale[flat] = 1
    if protocol == "ez_vsl":
        shift = np.where(flat, np.float32(0), low)
        pivot = (middle - shift) / scale

        def taken(x: Floats) -> NDArray[np.bool_]:
            return np.asarray((x - shift) / scale >= pivot)
    else:
        shift = np.where(flat, np.float32(0), high)
        pivot = 1 - (shift - middle) / scale

        def taken(x: Floats) -> NDArray[np.bool_]:
            normal = 1 - (shift - x) / scale
            return np.asarray((normal > pivot) | (normal >= 1))

    no, yes = _order(low).astype(np.int64) - 1, _order(high).astype(np.int64)
    while (yes - no > 1).any():
        half = (no + yes) // 2
        inside = taken(_value(half))
        yes, no = np.where(inside, half, yes), np.where(inside, no, half)
    return np.where(taken(high), _value(yes), np.float32(np.nan))


def _order(x: Floats) -> NDArray[np.int32]:
    """Whole numbers in the order of the float32 that they stand for."""
    bits = x.view(np.int32)
    return np.where(bits < 0, np.int32(-(2**31)) - bits, bits)


def _value(order: NDArray[np.int64]) -> Floats:
    bits = order.astype(np.int32)
    return np.where(bits < 0, np.int32(-(2**31)) - bits, bits).view(np.float32)


def consensus_iou(region: Tensor, truth: Tensor) -> Tensor:
    """Weight found over all weight plus pixels found where there is none; 0 for an empty truth.

    float64 (N,) on the CPU.

    Args:
        region: bool (N, H, W).
        truth: Weights in [0, 1], (N, H, W).
    """
    found, weights = region.cpu().numpy().reshape(len(region), -1), heatmap_rows(truth)
    return torch.tensor([_consensus(f, w) for f, w in zip(found, weights, strict=True)], dtype=torch.double)


def _consensus(found: NDArray[np.bool_], weights: Floats) -> float:
    none = weights == 0
    full = weights == 1
    if np.count_nonzero(none) + np.count_nonzero(full) == len(weights):  # boxes: counting is enough
        inside, total = float(np.count_nonzero(found & full)), float(np.count_nonzero(full))
    else:
        inside, total = ((weights * x).sum(dtype=np.float64) for x in (found, True))
    total += np.count_nonzero(found & none)
    return inside / total if total else 0.0


def pixel_precision(maps: Tensor, truth: Tensor) -> Tensor:
    """Average precision of pixels ranked by the map against truth above 0, float64 (N,); NaN for an empty truth.

    Pixels of equal value are one step of the curve, so their order does not matter.
    """
    order = maps.flatten(1).argsort(1, descending=True)
    values = maps.flatten(1).gather(1, order)
    hit = (truth.flatten(1) > 0).gather(1, order).double()
    found = hit.cumsum(1)
    ranks = torch.arange(1, hit.shape[1] + 1, device=hit.device)
    last = torch.cat([values[:, 1:] != values[:, :-1], torch.ones_like(values[:, :1], dtype=torch.bool)], 1)
    precision = (found / ranks).masked_fill(~last, 0)
    before = torch.cat([torch.zeros_like(found[:, :1]), (found * last).cummax(1).values[:, :-1]], 1)
    return (precision * (found - before)).sum(1) / found[:, -1]


class SourceLocalization(ScoreMetric):
    """cIoU@0.5 and AUC of heat maps, as published for VGG-SS and Flickr-SoundNet, and clean figures beside them.

    Args:
        protocol: `ez_vsl`, the one of the newer tables, or `lvs`; they differ in how maps are enlarged and halved.
        clean: Add `cIoU_adaptive`, the mean cIoU where the region has as many pixels as the truth instead of half of
            all, and `pixel_AP`, the mean `pixel_precision` over maps with a truth.
        side: Pixels of a side at which maps are scored.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For an unknown protocol.
    """

    passed: Tensor
    total: Tensor
    extra: Tensor
    maps: Tensor
    ranked: Tensor

    def __init__(
        self, protocol: HeatmapProtocol = "ez_vsl", clean: bool = False, side: int = HEATMAP_SIZE, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if protocol not in ("ez_vsl", "lvs"):
            raise unknown_name("protocol", protocol, ("ez_vsl", "lvs"))
        self.protocol, self.clean, self.side = protocol, clean, side
        self.add_state("passed", default=torch.zeros(len(_CURVE) + 1, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", default=torch.zeros((), dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("extra", default=torch.zeros(2, dtype=torch.double), dist_reduce_fx="sum")
        for name in ("maps", "ranked"):
            self.add_state(name, default=torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, maps: Tensor, truth: Tensor) -> None:
        """Add heat maps.

        Args:
            maps: One per picture, (B, h, w) of any size; high where the source is. Half precision is widened first.
            truth: Weights, (B, side, side), see `boxes_to_map` and `annotators_to_map`.

        Raises:
            ValueError: If shapes do not fit, a map is not finite or a weight is outside [0, 1].
        """
        if maps.ndim != 3 or truth.shape != (len(maps), self.side, self.side):
            raise ValueError(
                f"maps of shape {tuple(maps.shape)} and truth of shape {tuple(truth.shape)}; give maps (B, h, w) and "
                f"truth (B, {self.side}, {self.side})."
            )
        if not bool(maps.isfinite().all()):
            raise ValueError("maps has values that are not finite; such a map has no half.")
        least, most = truth.aminmax() if truth.numel() else (0, 0)
        if not 0 <= float(least) <= float(most) <= 1:
            raise ValueError("truth has weights outside [0, 1]; make it with boxes_to_map or annotators_to_map.")
        if not len(maps):
            return
        large = resize_heatmaps(maps, self.side, self.protocol)
        scores = consensus_iou(regions(large, self.protocol), truth).to(self.total.device)
        levels = torch.cat([_CURVE, _CURVE.new_tensor([0.5])]).to(scores.device)
        self.passed += (scores[:, None] >= levels).sum(0)
        self.total += scores.sum()
        self.maps += len(scores)
        if self.clean:
            self._add_clean(large, truth)

    def compute(self) -> dict[str, float]:
        """`cIoU@0.5`, `AUC` and `mean_cIoU`, and the clean ones where asked for; NaN before the first map."""
        count = int(self.maps)
        if not count:
            names = ("cIoU@0.5", "AUC", "mean_cIoU", *(("cIoU_adaptive", "pixel_AP") if self.clean else ()))
            return dict.fromkeys(names, float("nan"))
        rates = self.passed.double() / count
        curve = rates[:-1]
        area = float(torch.trapezoid(curve, _CURVE.to(curve.device)))
        values = {"cIoU@0.5": float(rates[-1]), "AUC": area, "mean_cIoU": float(self.total) / count}
        if self.clean:
            ranked = int(self.ranked)
            values["cIoU_adaptive"] = float(self.extra[0]) / count
            values["pixel_AP"] = float(self.extra[1]) / ranked if ranked else float("nan")
        return values

    def _add_clean(self, large: Tensor, truth: Tensor) -> None:
        flat, size = large.flatten(1), (truth > 0).flatten(1).sum(1)
        ranks = flat.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        self.extra[0] += consensus_iou((ranks < size[:, None]).view_as(large), truth).sum().to(self.extra.device)
        precision = pixel_precision(large, truth)
        self.extra[1] += precision.nansum()
        self.ranked += (size > 0).sum()


def _check_boxes(boxes: Tensor | Sequence[Sequence[float]]) -> None:
    shape = tuple(boxes.shape) if isinstance(boxes, Tensor) else None
    if shape is None or len(shape) != 2 or shape[1] != 4:
        raise ValueError(f"boxes of shape {shape}; give a tensor (N, 4) of x1 y1 x2 y2.")
