# SPDX-License-Identifier: Apache-2.0
"""Sound source localization: a heat map of where the sound comes from, learned without any label."""

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from avkit.answers import Answer, Heat
from avkit.answers.encoding import Record, encode_array
from avkit.batch import Batch, Prediction, Vocabulary
from avkit.metrics.ssl import SourceLocalization
from avkit.nn.heatmap import HEATMAP_SIZE, HeatmapProtocol, resize_heatmaps
from avkit.tasks.base import Baseline, Task
from avkit.tasks.stored import array_entry, read_each, steps_entry


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
    sampling_weight = 1.6
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

    @classmethod
    def options_of(cls, protocol: Mapping[str, str], figures: Collection[str]) -> dict[str, object]:
        """The rule by which heat maps are scored."""
        return {"protocol": protocol["metric"]} if "metric" in protocol else {}

    def metric_protocol(self) -> dict[str, str]:
        """Whose rule decides which part of a heat map is predicted."""
        return {"metric": self.protocol}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score the steps in which a visible source sounds."""
        heat = prediction["heat"]
        target = batch.targets["source"].to(heat.device)
        sounding = _sounding(batch).to(heat.device)
        resized = F.interpolate(target[sounding][None], (HEATMAP_SIZE, HEATMAP_SIZE), mode="nearest")[0]
        clips = [batch.id[row] for row in sounding.nonzero()[:, 0].tolist()]
        metrics[""].update(heat[sounding], resized, clips)

    def records(self, prediction: Prediction, batch: Batch) -> list[Record]:
        """`heat`, float32 (n, h, w), of the `steps` that are scored; `size`, height and width of the true maps."""
        size = list(batch.targets["source"].shape[-2:])
        maps = prediction["heat"].float().cpu()
        records: list[Record] = []
        for name, heat, sounding in zip(batch.id, maps, _sounding(batch).cpu(), strict=True):
            steps = sounding.nonzero()[:, 0]
            record = {"id": name, "steps": steps.tolist(), "size": size}
            if len(steps):
                record["heat"] = encode_array(heat[steps].numpy())
            records.append(record)
        return records

    def prediction(self, records: Sequence[Record], batch: Batch) -> Prediction:
        """The heat maps, those of steps that are not scored being 0; maps of a batch are of one size."""
        sounding = _sounding(batch)

        def read(record: Record, row: int) -> tuple[list[int], Tensor]:
            steps = steps_entry(record, sounding[row].nonzero()[:, 0].tolist())
            if not steps:
                return [], torch.zeros(0, 1, 1)
            return steps, torch.from_numpy(
                array_entry(record, "heat", "f", (len(steps), None, None)).astype(np.float32)
            )

        maps = read_each(records, read)
        sizes = {tuple(heat.shape[1:]) for steps, heat in maps if steps} or {(1, 1)}
        if len(sizes) > 1:
            maps = [(steps, resize_heatmaps(heat, protocol=self.protocol)) for steps, heat in maps]
            sizes = {(HEATMAP_SIZE, HEATMAP_SIZE)}
        values = torch.zeros(*batch.valid.shape, *sizes.pop())
        for row, (steps, heat) in enumerate(maps):
            for step, one in zip(steps, heat, strict=True):
                if step < values.shape[1]:
                    values[row, step] = one
        return Prediction(self.name, batch.id, {"heat": values})

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


def _sounding(batch: Batch) -> Tensor:
    """Steps in which a visible source sounds, bool (B, T)."""
    sounding: Tensor = batch.valid & batch.targets["source"].to(batch.valid.device).flatten(2).any(2)
    return sounding
