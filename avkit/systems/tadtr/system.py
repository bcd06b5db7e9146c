# SPDX-License-Identifier: Apache-2.0
"""TadTR in a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from avkit.batch import Batch, FeatureWidths, Losses, Prediction
from avkit.systems.base import Encoded, RunContext
from avkit.systems.features import FeatureConfig, FeatureSystem
from avkit.systems.tadtr.criterion import SetCriterion, SetLossOptions, video_seconds
from avkit.systems.tadtr.network import EventSet, TadTR, TadTROptions

#: Events of a video that are given, the likeliest ones.
MAX_EVENTS = 100


@dataclass
class TadTRConfig(TadTROptions, SetLossOptions, FeatureConfig):
    """TadTR for `davel`: a set of events by deformable attention, on joined features."""

    answered_tasks: ClassVar[tuple[str, ...]] = ("davel",)

    name: Literal["tadtr"] = "tadtr"

    def build(self, context: RunContext) -> "TadTRSystem":
        """The system."""
        return TadTRSystem(self, context)


class TadTRSystem(FeatureSystem):
    """TadTR behind features or encoders."""

    config: TadTRConfig

    def __init__(self, config: TadTRConfig, context: RunContext) -> None:
        super().__init__(config, context)
        self.criterion = SetCriterion(config)

    def build_network(self, widths: FeatureWidths, context: RunContext) -> TadTR:
        """The network."""
        return TadTR(self.config, widths.visual, widths.audio, len(context.vocabulary.classes))

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> list[EventSet]:
        """The events of every layer of the decoder."""
        encoded = encoded or self.encode(batch)
        output: list[EventSet] = self.network(encoded.visual.frame, encoded.audio, batch.valid)
        return output

    def loss(self, output: Sequence[EventSet], batch: Batch) -> Losses:
        """`classes`, `segments`, `iou` and `actionness`."""
        losses: Losses = self.criterion(output, batch)
        return losses

    def predict(self, output: Sequence[EventSet], batch: Batch) -> Prediction:
        """`event_list`: start s, end s, class and score, the likeliest first; nothing is suppressed."""
        last = output[-1]
        assert last.actionness is not None
        scores = last.logits.float().sigmoid() * last.actionness.float()[..., None]
        seconds = video_seconds(batch)
        rows = []
        for video, duration in enumerate(batch.duration.tolist()):
            times = last.segments[video].float() * seconds[video]
            rows.append(_likeliest(scores[video], times, batch.offset, duration))
        return Prediction(batch.task, batch.id, {"event_list": rows})


def _likeliest(scores: Tensor, times: Tensor, offset: float, duration: float) -> Tensor:
    """Events (M, 4) of scores (N, K) and of centres and lengths in seconds (N, 2)."""
    count = min(MAX_EVENTS, scores.numel())
    best, place = scores.flatten().topk(count)
    query = place.div(scores.shape[1], rounding_mode="floor")
    label = place % scores.shape[1]
    centre = times[query, 0] + offset
    half = times[query, 1] / 2
    start = (centre - half).clamp(0, duration)
    end = (centre + half).clamp(0, duration)
    return torch.stack([start, end, label.to(best.dtype), best], 1).cpu()
