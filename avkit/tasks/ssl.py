# SPDX-License-Identifier: Apache-2.0
"""Sound source localization: a heat map of where the sound comes from, learned without any label."""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from avkit.answers import Answer, Heat
from avkit.batch import Batch, Prediction, Vocabulary
from avkit.metrics.ssl import SourceLocalization
from avkit.nn.heatmap import HEATMAP_SIZE, HeatmapProtocol
from avkit.tasks.base import Baseline, Task


class SoundLocalization(Task):
    """A heat map per step.

    Sources are annotated for evaluation alone; training only knows which sound and picture belong together.

    Args:
        vocabulary: Not used.
        protocol: Official rule by which a heat map is scored, see `avkit.nn.heatmap.HeatmapProtocol`.
    """

    name = "ssl"
    default_head = "avkit.heads.heat:HeatHead"
    answers: ClassVar[tuple[type[Answer], ...]] = (Heat,)
    sequence_forms: ClassVar[tuple[str, ...]] = ("boxes",)
    weakly_supervised = True
    targets = ("source",)
    evaluation_only = targets
    stepwise = True
    sampling_weight = 2.0
    benchmark = "vggss"
    prompt = "find where in the picture the sound comes from"
    monitor = "cIoU@0.5"
    headline = ("cIoU@0.5", "AUC")

    def __init__(self, vocabulary: Vocabulary, protocol: HeatmapProtocol = "ez_vsl") -> None:
        super().__init__(vocabulary)
        self.protocol: HeatmapProtocol = protocol

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """The official figures and, unless `quick`, those beside them that suit small sources."""
        return {"": SourceLocalization(self.protocol, clean=not quick)}

    def metric_protocol(self) -> dict[str, str]:
        """Whose rule decides which part of a heat map is predicted."""
        return {"metric": self.protocol}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score the steps in which a visible source sounds."""
        heat = prediction["heat"]
        target = batch.targets["source"].to(heat.device)
        sounding = batch.valid.to(heat.device) & target.flatten(2).any(2)
        resized = F.interpolate(target[sounding][None], (HEATMAP_SIZE, HEATMAP_SIZE), mode="nearest")[0]
        clips = [batch.id[row] for row in sounding.nonzero()[:, 0].tolist()]
        metrics[""].update(heat[sounding], resized, clips)

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """The middle of the picture, and the mean place of sources in training."""
        position = torch.linspace(-1, 1, 33)
        maps = {"middle": -(position[:, None] ** 2 + position[None] ** 2)}
        if all("source" in batch.targets for batch in batches):
            means = [batch.targets["source"][batch.valid].mean(0) for batch in batches]
            maps["where sources usually are"] = torch.stack(means).mean(0).cpu()
        return {name: self._constant(heat) for name, heat in maps.items()}

    def _constant(self, heat: Tensor) -> Baseline:
        """The same heat map (h, w) in every step."""

        def answer(batch: Batch) -> Prediction:
            maps = heat.to(batch.valid.device).expand(*batch.valid.shape, -1, -1)
            return Prediction(self.name, batch.id, {"heat": maps})

        return answer
