# SPDX-License-Identifier: Apache-2.0
"""Sound source localisation: a heat map of where the sound comes from, learnt without any label."""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from avkit.answers import Answer, Heat
from avkit.batch import Batch, Prediction
from avkit.heads.heat import HeatHead, pairing_loss
from avkit.metrics.ssl import SourceLocalization
from avkit.nn.heatmap import HEATMAP_SIZE
from avkit.tasks.base import Baseline, Task

Out = tuple[Tensor, Tensor]


class SoundLocalization(Task):
    """A heat map per step.

    Where sources are is read for scores alone; training looks only at which sound goes with which picture, and
    modalities do not meet before the head. Loss: see `pairing_loss`.
    """

    name = "ssl"
    answers: ClassVar[tuple[type[Answer], ...]] = (Heat,)
    forms: ClassVar[tuple[str, ...]] = ("boxes",)
    weakly_supervised = True
    targets = ("source",)
    evaluation_only = targets
    stepwise = True
    meet = False
    pixels = False
    sampling_weight = 2.0
    benchmark = "vggss"
    prompt = "find where in the picture the sound comes from"
    monitor = "cIoU@0.5"
    headline = ("cIoU@0.5", "AUC")

    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """Sounds and patches as vectors that can be compared."""
        return HeatHead(width)

    def loss(self, out: Out, batch: Batch) -> dict[str, Tensor]:
        """`pairs`."""
        heard, seen = out
        clip = torch.arange(len(batch), device=heard.device)[:, None].expand(batch.valid.shape)
        keep = batch.valid
        pairs = pairing_loss(heard[keep], seen[keep].flatten(1, 2), clip[keep])
        return {"loss": pairs, "pairs": pairs}

    def teach(self, out: Out, batch: Batch) -> dict[str, Tensor]:
        """The box around the warmer half of each heat map's range."""
        heat = self.predict(out, batch)["heat"].detach()
        hot = heat >= (heat.amax((2, 3), keepdim=True) + heat.amin((2, 3), keepdim=True)) / 2
        edges = []
        for on in (hot.any(2), hot.any(3)):  # columns, then rows
            size = on.shape[-1]
            edges += [on.int().argmax(-1) / size, 1 - on.flip(-1).int().argmax(-1) / size]
        left, right, top, bottom = edges
        return {"boxes": torch.stack([left, top, right, bottom], -1)[:, :, None]}

    def predict(self, out: Out, batch: Batch) -> Prediction:
        """`heat`, (B, T, h, w), the cosine of patch and sound."""
        heard, seen = out
        return Prediction(self.name, batch.id, {"heat": torch.einsum("btc,bthwc->bthw", heard, seen).float()})

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """The official figures and, unless `quick`, those beside them that suit small sources."""
        return {"": SourceLocalization(clean=not quick)}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score the steps in which something that sounds is seen."""
        heat = prediction["heat"]
        truth = batch.targets["source"].to(heat.device)
        sounding = batch.valid.to(heat.device) & truth.flatten(2).any(2)
        large = F.interpolate(truth[sounding][None], (HEATMAP_SIZE, HEATMAP_SIZE), mode="nearest")[0]
        metrics[""].update(heat[sounding], large)

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """The middle of the picture, and where sources of the training pictures lie."""
        place = torch.linspace(-1, 1, 33)
        rules = {"middle": -(place[:, None] ** 2 + place[None] ** 2)}
        if all("source" in batch.targets for batch in batches):
            sources = [batch.targets["source"][batch.valid].mean(0) for batch in batches]
            rules["where sources usually are"] = torch.stack(sources).mean(0).cpu()

        def constant(heat: Tensor) -> Baseline:
            def answer(batch: Batch) -> Prediction:
                shown = heat.to(batch.valid.device).expand(*batch.valid.shape, -1, -1)
                return Prediction(self.name, batch.id, {"heat": shown})

            return answer

        return {name: constant(heat) for name, heat in rules.items()}
