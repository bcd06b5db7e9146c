# SPDX-License-Identifier: Apache-2.0
"""Sound source localisation: a heat map of where the sound comes from, learnt without any label."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from avkit.batch import Batch, Prediction
from avkit.heads.heat import HeatHead, pairing_loss
from avkit.metrics.ssl import SIDE, SourceLocalization
from avkit.tasks.base import Baseline, Task
from avkit.tasks.masks import known_steps

Out = tuple[Tensor, Tensor]


class SoundLocalization(Task):
    """A heat map per step.

    The true masks are read for scores alone; training looks only at which sound goes with which picture, and modalities
    do not meet before the head. Loss: see `pairing_loss`.
    """

    name = "ssl"
    reads = ("mask", "mask_known")
    scored_by = reads
    stepwise = True
    mixed = False
    prompt = "find where in the picture the sound comes from"
    monitor = "cIoU_adaptive"
    headline = ("cIoU@0.5", "cIoU_adaptive")

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

    def predict(self, out: Out, batch: Batch) -> Prediction:
        """`heat`, (B, T, h, w), the cosine of patch and sound."""
        heard, seen = out
        return Prediction(self.name, batch.id, {"heat": torch.einsum("btc,bthwc->bthw", heard, seen).float()})

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """The official figures, and those beside them that suit small sources."""
        return {"": SourceLocalization(clean=True)}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score the steps in which something that sounds is seen."""
        heat = prediction["heat"]
        truth = batch.targets["mask"].to(heat.device)
        sounding = known_steps(batch).to(heat.device) & truth.flatten(2).any(2).bool()
        large = F.interpolate(truth[sounding][None].float(), (SIDE, SIDE), mode="nearest")[0]
        metrics[""].update(heat[sounding], large)

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """The middle of the picture, and where sources of the training pictures lie."""
        place = torch.linspace(-1, 1, 33)
        rules = {"middle": -(place[:, None] ** 2 + place[None] ** 2)}
        if all("mask" in batch.targets for batch in batches):
            masks = [batch.targets["mask"][known_steps(batch)].float().mean(0) for batch in batches]
            rules["where sources usually are"] = torch.stack(masks).mean(0).cpu()

        def constant(heat: Tensor) -> Baseline:
            def answer(batch: Batch) -> Prediction:
                shown = heat.to(batch.valid.device).expand(*batch.valid.shape, -1, -1)
                return Prediction(self.name, batch.id, {"heat": shown})

            return answer

        return {name: constant(heat) for name, heat in rules.items()}
