# SPDX-License-Identifier: Apache-2.0
"""Dense audio-visual event localisation: every event in an untrimmed video, with start, end and class."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from avkit.answers import Answer, Events
from avkit.batch import Batch, Prediction
from avkit.heads.pyramid import PyramidHead
from avkit.metrics.davel import EventDetectionMAP
from avkit.nn.event_levels import EventLevel
from avkit.nn.event_nms import decode_level, suppress_events
from avkit.nn.losses import distance_iou_loss, mean_of, sigmoid_focal_loss
from avkit.tasks.base import Baseline, Task, need_classes

#: Farthest reach that a level answers for, in its own stride; half of it, which is the level below's, is the least.
_LONGEST = 4.0


class DenseEvents(Task):
    """Events both heard and seen, as many and as long as there are.

    A point learns from the events that it lies in and whose longer side its level answers for; where several of one
    class do, from the shortest. Loss: focal over classes and distance-IoU over segments, both per positive (UnAV).
    """

    name = "davel"
    answers: ClassVar[tuple[type[Answer], ...]] = (Events,)
    forms: ClassVar[tuple[str, ...]] = ("dense",)
    targets = ("events",)
    untrimmed = True
    sampling_weight = 2.2
    benchmark = "unav100"
    prompt = "find every event that is heard and seen, with its start and end"
    monitor = "Avg"
    headline = ("Avg", "mAP@0.5")

    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """Classes and boundaries at every point of a pyramid."""
        return PyramidHead(width, need_classes(self))

    def loss(self, out: list[EventLevel], batch: Batch) -> dict[str, Tensor]:
        """`classes` and `segments`."""
        classes, segments, positives = [], [], out[0].logits.new_zeros(())
        for number, level in enumerate(out):
            target = _targets(level, batch, number == 0, number == len(out) - 1)
            positive = target.isfinite().all(-1)
            logits = level.logits[level.valid]
            classes.append(sigmoid_focal_loss(logits, positive[level.valid].to(logits.dtype)).sum())
            segments.append(distance_iou_loss(level.reach[positive], target[positive]).sum())
            positives = positives + positive.sum()
        losses = {
            name: mean_of(sum(x, positives * 0), positives)
            for name, x in (("classes", classes), ("segments", segments))
        }
        return {"loss": losses["classes"] + losses["segments"], **losses}

    def predict(self, out: list[EventLevel], batch: Batch) -> Prediction:
        """`event_list`: of each clip (N, 4), start s, end s, class and score, by descending score, at most 100."""
        chance = [level.logits.float().sigmoid().cpu().numpy() for level in out]
        reach = [level.reach.float().cpu().numpy() for level in out]
        points = [level.points.float().cpu().numpy() for level in out]
        videos: list[Any] = []
        for row, level_valid in enumerate(zip(*(level.valid.cpu().numpy() for level in out), strict=True)):
            parts = [
                decode_level(chance[n][row][ok], reach[n][row][ok], points[n][ok], out[n].stride)
                for n, ok in enumerate(level_valid)
            ]
            videos.append(tuple(np.concatenate(part) for part in zip(*parts, strict=True)))
        rows = []
        for (segments, scores, labels), duration in zip(suppress_events(videos), batch.duration.tolist(), strict=True):
            seconds = (segments * batch.hop + batch.offset).clip(0, duration)
            rows.append(torch.from_numpy(np.c_[seconds, labels, scores].astype(np.float32)))
        return Prediction(self.name, batch.id, {"event_list": rows})

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """Average precision at nine overlaps, and their mean."""
        return {"": EventDetectionMAP()}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score each video."""
        found = [{"segments": x[:, :2], "labels": x[:, 2].long(), "scores": x[:, 3]} for x in prediction["event_list"]]
        true = [{"segments": x[:, :2], "labels": x[:, 2].long()} for x in batch.targets["events"]]
        metrics[""].update(batch.id, found, true)

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """Every class over the whole video, and in its halves, as likely as it is in training."""
        counts: Counter[int] = Counter()
        for batch in batches:
            counts.update(int(k) for events in batch.targets["events"] for k in events[:, 2].tolist())
        total = max(1, sum(counts.values()))

        def divided(number: int) -> Baseline:
            def answer(batch: Batch) -> Prediction:
                rows: list[Any] = []
                for duration in batch.duration.tolist():
                    step = duration / number
                    parts = [(i * step, (i + 1) * step) for i in range(number)]
                    events = [[*part, k, count / total] for k, count in counts.items() for part in parts]
                    rows.append(torch.tensor(events).reshape(-1, 4))
                return Prediction(self.name, batch.id, {"event_list": rows})

            return answer

        return {"the whole video": divided(1), "halves": divided(2), "tenths": divided(10)}


def _targets(level: EventLevel, batch: Batch, first: bool, last: bool) -> Tensor:
    """Reach (B, N, K, 2) of the event that each point learns from, per class; NaN where there is none."""
    middles, unit = level.points * batch.hop + batch.offset, level.stride * batch.hop
    out = torch.full_like(level.reach, torch.nan)
    for target, events, valid in zip(out, batch.targets["events"], level.valid, strict=True):
        if not len(events):
            continue
        events = events.to(out.device)[(events[:, 0] - events[:, 1]).argsort().to(out.device)]  # the longest first
        reach = torch.stack([middles - events[:, :1], events[:, 1:2] - middles], -1) / unit  # (E, N, 2)
        far = reach.amax(-1)
        fits = (reach.amin(-1) > 0) & valid & (far <= (torch.inf if last else _LONGEST))
        if not first:
            fits &= far > _LONGEST / 2
        rank = torch.arange(len(events), device=out.device)[:, None]
        kind = events[:, 2].long()[:, None].expand_as(fits)
        best = torch.full(target.shape[:2][::-1], -1, device=out.device)
        best.scatter_reduce_(0, kind, torch.where(fits, rank, -1), "amax")
        label, point = (best >= 0).nonzero(as_tuple=True)
        target[point, label] = reach[best[label, point], point].to(target.dtype)
    return out
