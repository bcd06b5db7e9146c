# SPDX-License-Identifier: Apache-2.0
"""Sound source localisation (VGG-SS, Flickr-SoundNet): cIoU of the upper half of a heat map, and its success curve.

Source: see `avkit.metrics.source_regions`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avkit.errors import unknown_name
from avkit.metrics.base import ScoreMetric
from avkit.metrics.inputs import ArrayLike, clip_names, to_tensor
from avkit.metrics.intervals import Floats
from avkit.metrics.score_forms import check_ranking
from avkit.metrics.source_regions import annotators_to_map, boxes_to_map, consensus_iou, pixel_precision, regions
from avkit.nn.heatmap import HEATMAP_SIZE, HeatmapProtocol, resize_heatmaps

__all__ = ["SourceLocalization", "annotators_to_map", "boxes_to_map", "consensus_iou", "pixel_precision", "regions"]

#: Thresholds of the success curve, in float64 as the official code multiplies them.
_CURVE = torch.arange(21, dtype=torch.double, device="cpu") * 0.05
#: Sums of a clip: maps, those that reach each threshold and 0.5, cIoU, `cIoU_adaptive`, `pixel_AP`, targets.
_WIDTH = 1 + len(_CURVE) + 1 + 1 + 3


class SourceLocalization(ScoreMetric):
    """cIoU@0.5 and AUC of heat maps, as published for VGG-SS and Flickr-SoundNet, and two clean metrics.

    Examples:
        >>> metric = SourceLocalization(size=4)
        >>> target = [[[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]]
        >>> metric.update([[[0.9, 0.8, 0.1, 0.2]] * 4], target)
        >>> metric.compute()["cIoU@0.5"]
        1.0

    Args:
        protocol: `ez_vsl`, as in newer papers, or `lvs`; they differ in how maps are resized and thresholded.
        clean: Add `cIoU_adaptive`, the mean cIoU of the region with as many pixels as the target instead of half of
            all, and `pixel_AP`, the mean `pixel_precision` over maps with a target.
        size: Height and width in pixels at which maps are scored.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For an unknown protocol.
    """

    #: Maps that reach each threshold of the success curve, and 0.5.
    passed: Tensor
    #: Sum of cIoU.
    total: Tensor
    #: Floats of `cIoU_adaptive` and of `pixel_AP`.
    extra: Tensor
    #: Number of maps, and of those with a target.
    maps: Tensor
    ranked: Tensor

    def __init__(
        self, protocol: HeatmapProtocol = "ez_vsl", clean: bool = False, size: int = HEATMAP_SIZE, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if protocol not in ("ez_vsl", "lvs"):
            raise unknown_name("protocol", protocol, ("ez_vsl", "lvs"))
        self.protocol = protocol
        self.clean = clean
        self.size = size
        self.add_state("passed", default=torch.zeros(len(_CURVE) + 1, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", default=torch.zeros((), dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("extra", default=torch.zeros(2, dtype=torch.double), dist_reduce_fx="sum")
        for name in ("maps", "ranked"):
            self.add_state(name, default=torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_blocks(_WIDTH)

    def update(self, preds: ArrayLike, target: ArrayLike, clips: Sequence[str] | None = None) -> None:
        """Add heat maps.

        Args:
            preds: One map per picture, (B, h, w) of any size and range; high where the source is, for only the order of
                pixels counts. Half precision is converted to float32.
            target: Weights, (B, size, size), see `boxes_to_map` and `annotators_to_map`.
            clips: Name of the clip of each map, for the interval, see `ScoreMetric.add_clips`. Without it every map is
                a clip of its own.

        Raises:
            ValueError: If shapes do not fit, a map is not finite or a weight is outside [0, 1].
        """
        given = to_tensor("preds", preds)
        weights = to_tensor("target", target).to(given.device)
        if given.ndim != 3 or 0 in given.shape[1:] or weights.shape != (len(given), self.size, self.size):
            raise ValueError(
                f"preds of shape {tuple(given.shape)} and target of shape {tuple(weights.shape)}; give preds (B, h, w) "
                f"and target (B, {self.size}, {self.size})."
            )
        check_ranking("preds", given)
        names = clip_names(clips, len(given))
        if not len(given):
            return
        weights = weights.float() if weights.dtype == torch.bool else weights
        low, high = weights.aminmax()
        if not 0 <= float(low) <= float(high) <= 1:
            raise ValueError("target has weights outside [0, 1]; make it with boxes_to_map or annotators_to_map.")
        maps = resize_heatmaps(given, self.size, self.protocol)
        scores = consensus_iou(regions(maps, self.protocol), weights).to(self.total.device)
        levels = torch.cat([_CURVE, _CURVE.new_tensor([0.5])]).to(scores.device)
        passed = scores[:, None] >= levels
        extra = torch.zeros(len(scores), 3, dtype=torch.double, device=scores.device)
        if self.clean:
            extra = self._clean_scores(maps, weights).to(scores.device)
        self.passed += passed.sum(0)
        self.total += scores.sum()
        self.maps += len(scores)
        self.extra += extra[:, :2].sum(0)
        self.ranked += extra[:, 2].sum().long()
        self.add_clips(torch.cat([torch.ones_like(scores)[:, None], passed, scores[:, None], extra], 1), names)

    def compute(self) -> dict[str, float]:
        """`cIoU@0.5`, `AUC` and `mean_cIoU`, and the clean ones where asked for; NaN before the first map."""
        count = int(self.maps)
        if not count:
            names = ["cIoU@0.5", "AUC", "mean_cIoU"]
            if self.clean:
                names += ["cIoU_adaptive", "pixel_AP"]
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

    def shares(self) -> Mapping[str, tuple[float, int]]:
        """Maps that pass, where no two are of one clip."""
        maps = int(self.maps)
        if not maps or maps != self.sizes()[""]:
            return {}
        return {"cIoU@0.5": (float(self.passed[-1]), maps)}

    def scores_of_sums(self, sums: Floats) -> Mapping[str, Floats]:
        """The same of drawn clips."""
        count = sums[:, 1]
        rates = sums[:, 2 : 2 + len(_CURVE) + 1] / count[:, None]
        total, adaptive, precision, ranked = sums[:, -4:].T
        area = np.asarray(torch.trapezoid(torch.from_numpy(rates[:, :-1]), _CURVE))
        values = {"cIoU@0.5": rates[:, -1], "AUC": area, "mean_cIoU": total / count}
        if self.clean:
            values |= {"cIoU_adaptive": adaptive / count, "pixel_AP": precision / ranked}
        return values

    def _clean_scores(self, maps: Tensor, target: Tensor) -> Tensor:
        """For each map `cIoU_adaptive`, `pixel_AP` (0 without a target) and whether there is a target, (B, 3)."""
        pixels = (target > 0).flatten(1).sum(1)
        ranks = maps.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        region = (ranks < pixels[:, None]).view_as(maps)
        adaptive = consensus_iou(region, target).to(maps.device)
        return torch.stack([adaptive, pixel_precision(maps, target).nan_to_num(0.0), (pixels > 0).double()], 1)
