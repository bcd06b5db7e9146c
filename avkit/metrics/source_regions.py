# SPDX-License-Identifier: Apache-2.0
"""Sound source localisation (VGG-SS, Flickr-SoundNet): cIoU of the upper half of a heat map, and its success curve.

Source:
    stoneMo/EZ-VSL at commit 95ff5bff3019, `validate` and `Evaluator`; LVS, hche11/Localizing-Visual-Sounds-the-Hard-Way
    at commit 8fe8cbbf810e, `test.py`.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avkit.metrics.inputs import ArrayLike, to_tensor
from avkit.nn.heatmap import HEATMAP_SIZE, Floats, HeatmapProtocol, heatmap_rows

#: Thresholds of the success curve, in float64 as the official code multiplies them.
_CURVE = torch.arange(21, dtype=torch.double, device="cpu") * 0.05
#: Boxes in [0, 1] may stick out of the picture; if most edges lie beyond this they are in pixels.
_FAR = 2.0
#: Sums of a clip: maps, those that reach each threshold and 0.5, cIoU, `cIoU_adaptive`, `pixel_AP`, targets.
_WIDTH = 1 + len(_CURVE) + 1 + 1 + 3


def boxes_to_map(boxes: ArrayLike, size: int = HEATMAP_SIZE) -> Tensor:
    """Target of VGG-SS: the union of boxes, 0 or 1.

    Args:
        boxes: x1 y1 x2 y2 in [0, 1] each, (N, 4); rows of NaN are left out. Values outside are clipped, and reversed or
            empty boxes cover nothing.
        size: Height and width in pixels; edges are rounded down to whole pixels, the far ones excluded.

    Returns:
        float32 (size, size).
    """
    covered = torch.zeros(size, size)
    rows = _box_rows(boxes)
    known = rows[~rows.isnan().any(1)]
    if len(known) and float(known.median()) > _FAR:
        raise ValueError(
            f"boxes has values such as {known[0].tolist()}; give parts of the picture in [0, 1], not pixels: divide by "
            "its width and height."
        )
    for x1, y1, x2, y2 in (size * rows.clamp(0, 1)).tolist():
        if not math.isnan(x1):
            covered[int(y1) : int(y2), int(x1) : int(x2)] = 1
    return covered


def annotators_to_map(boxes: ArrayLike, size: int = HEATMAP_SIZE, grid: int = 256) -> Tensor:
    """Target of Flickr-SoundNet: half the number of annotators whose box contains the pixel, at most 1.

    Args:
        boxes: x1 y1 x2 y2 in pixels of a picture of `grid`, one box per annotator, (N, 4); negative rows are left out.
        size: Height and width in pixels.
        grid: Height and width in pixels of the picture on which the boxes were drawn.

    Returns:
        float32 (size, size): 0, 0.5 or 1.

    Raises:
        ValueError: If boxes are no (N, 4), or are parts of the picture instead of pixels.
    """
    annotators = torch.zeros(size, size)
    rows = _box_rows(boxes)
    known = rows[rows[:, 0] >= 0]
    if len(known) and float(known.max()) <= 1:
        raise ValueError(
            f"boxes has values such as {known[0].tolist()}; give pixels of a picture of {grid} x {grid}, not parts of "
            "it in [0, 1]."
        )
    for row in rows.tolist():
        if row[0] >= 0:
            x1, y1, x2, y2 = [int(size * x / grid) for x in row]
            annotators[y1:y2, x1:x2] += 1
    return (annotators / 2).clamp(max=1)


def regions(maps: Tensor, protocol: HeatmapProtocol = "ez_vsl") -> Tensor:
    """The half of each map that is taken as the source.

    Args:
        maps: float32 (N, H, W), the output of a network after `resize_heatmaps`.
        protocol: `ez_vsl` takes pixels at or above the upper median of the normalised map, ties included. `lvs` takes
            those above it or at its maximum; of a constant map everything if it is not negative, else nothing.

    Returns:
        bool (N, H, W), on the CPU.
    """
    rows = heatmap_rows(maps)
    middle = rows.shape[1] // 2
    sorted_row = np.empty_like(rows[:1]).reshape(-1)
    minimum = np.empty((len(rows), 1), np.float32)
    median = np.empty_like(minimum)
    maximum = np.empty_like(minimum)
    for number, row in enumerate(rows):
        sorted_row[:] = row
        sorted_row.partition(middle)
        minimum[number] = sorted_row[: middle + 1].min()
        median[number] = sorted_row[middle]
        maximum[number] = sorted_row[middle:].max()
    return torch.from_numpy(rows >= _threshold(minimum, median, maximum, protocol)).view(maps.shape)


def _threshold(low: Floats, median: Floats, high: Floats, protocol: HeatmapProtocol) -> Floats:
    """The smallest value of each map inside its region, by bisection instead of normalising every pixel.

    Normalising keeps the order of pixels but may make some equal, so the threshold is the smallest float32 whose
    normalised value is in the region, at or below `high`; NaN where the region is empty.
    """
    flat = low == high
    scale = high - low
    scale[flat] = 1
    if protocol == "ez_vsl":
        shift = np.where(flat, np.float32(0), low)
        pivot = (median - shift) / scale

        def in_region(x: Floats) -> NDArray[np.bool_]:
            return np.asarray((x - shift) / scale >= pivot)
    else:
        shift = np.where(flat, np.float32(0), high)
        pivot = 1 - (shift - median) / scale

        def in_region(x: Floats) -> NDArray[np.bool_]:
            normalised = 1 - (shift - x) / scale
            return np.asarray((normalised > pivot) | (normalised >= 1))

    outside = _order(low).astype(np.int64) - 1
    inside = _order(high).astype(np.int64)
    while (inside - outside > 1).any():
        half = (outside + inside) // 2
        reached = in_region(_value(half))
        inside = np.where(reached, half, inside)
        outside = np.where(reached, outside, half)
    return np.where(in_region(high), _value(inside), np.float32(np.nan))


def _order(x: Floats) -> NDArray[np.int32]:
    """Whole numbers in the same order as the float32 values that they encode."""
    bits = x.view(np.int32)
    return np.where(bits < 0, np.int32(-(2**31)) - bits, bits)


def _value(order: NDArray[np.int64]) -> Floats:
    """The float32 values of whole numbers of `_order`."""
    bits = order.astype(np.int32)
    return np.where(bits < 0, np.int32(-(2**31)) - bits, bits).view(np.float32)


def consensus_iou(region: Tensor, target: Tensor) -> Tensor:
    """Consensus IoU: weight inside the region over total weight plus pixels of the region without weight.

    Args:
        region: bool (N, H, W).
        target: Weights in [0, 1], (N, H, W).

    Returns:
        float64 (N,) on the CPU; 0 for an empty target.
    """
    regions_by_row = region.cpu().numpy().reshape(len(region), -1)
    values = [_consensus(own, weights) for own, weights in zip(regions_by_row, heatmap_rows(target), strict=True)]
    return torch.tensor(values, dtype=torch.double)


def _consensus(region: NDArray[np.bool_], weights: Floats) -> float:
    none = weights == 0
    full = weights == 1
    if np.count_nonzero(none) + np.count_nonzero(full) == len(weights):  # boxes: counting is enough
        inside = float(np.count_nonzero(region & full))
        total = float(np.count_nonzero(full))
    else:
        inside = (weights * region).sum(dtype=np.float64)
        total = weights.sum(dtype=np.float64)
    total += np.count_nonzero(region & none)
    return inside / total if total else 0.0


def pixel_precision(maps: Tensor, target: Tensor) -> Tensor:
    """Average precision of pixels ranked by the map; pixels of equal value are one step of the curve.

    Args:
        maps: (N, H, W).
        target: (N, H, W); pixels above 0 are positive.

    Returns:
        float64 (N,); NaN for an empty target.
    """
    order = maps.flatten(1).argsort(1, descending=True)
    values = maps.flatten(1).gather(1, order)
    positive = (target.flatten(1) > 0).gather(1, order).double()
    hits = positive.cumsum(1)
    ranks = torch.arange(1, positive.shape[1] + 1, device=positive.device)
    last = torch.cat([values[:, 1:] != values[:, :-1], torch.ones_like(values[:, :1], dtype=torch.bool)], 1)
    precision = (hits / ranks).masked_fill(~last, 0)
    before = torch.cat([torch.zeros_like(hits[:, :1]), (hits * last).cummax(1).values[:, :-1]], 1)
    return (precision * (hits - before)).sum(1) / hits[:, -1]


def _box_rows(boxes: ArrayLike) -> Tensor:
    """Boxes as float64 (N, 4)."""
    rows = to_tensor("boxes", boxes)
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise ValueError(f"boxes of shape {tuple(rows.shape)}; give a tensor (N, 4) of x1 y1 x2 y2.")
    return rows.double()
