# SPDX-License-Identifier: Apache-2.0
"""Audio-visual event localisation: the event that is both heard and seen in each step, or background."""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from avkit.answers import Answer, StepLabels
from avkit.batch import Batch, Prediction
from avkit.heads.segment import EventHead
from avkit.metrics.ave import SegmentAccuracy
from avkit.nn.losses import mean_of
from avkit.tasks.base import Baseline, Task, need_classes


class EventLocalization(Task):
    """One class, or background, per step.

    An event is a class that is heard and seen at the same step. Steps with several at once, which the benchmark does
    not have, are neither learnt from nor scored. Loss: cross-entropy per step.
    """

    name = "ave"
    answers: ClassVar[tuple[type[Answer], ...]] = (StepLabels,)
    forms: ClassVar[tuple[str, ...]] = ("events",)
    targets = ("audio_segments", "visual_segments")
    stepwise = True
    sampling_weight = 0.7
    benchmark = "ave"
    prompt = "find when an event is both heard and seen"
    monitor = "accuracy"
    headline = ("accuracy",)

    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """Background and classes per step."""
        return EventHead(width, need_classes(self))

    def loss(self, out: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`segments`."""
        target, keep = target_of(batch)
        losses = F.cross_entropy(out.flatten(0, 1), target.flatten(), reduction="none")
        segments = mean_of((losses * keep.flatten()).sum(), keep.sum())
        return {"loss": segments, "segments": segments}

    def predict(self, out: Tensor, batch: Batch) -> Prediction:
        """`event_scores`, logits (B, T, K + 1) with background first, and `event`, B lists of T names."""
        names = ["", *self.vocabulary.classes]
        event = [[names[k] for k in row] for row in out.argmax(-1).tolist()]
        return Prediction(self.name, batch.id, {"event_scores": out.float(), "event": event})

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """Accuracy over segments."""
        return {"": SegmentAccuracy(len(self.vocabulary.classes) + 1)}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score the steps that have one event or none."""
        scores = prediction["event_scores"]
        target, keep = (x.to(scores.device) for x in target_of(batch))
        metrics[""].update(scores, target, keep)

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """The commonest class of a step, which is nearly always the background; and the clip's commonest event."""
        counts = torch.zeros(len(self.vocabulary.classes) + 1, dtype=torch.long)
        for batch in batches:
            target, keep = target_of(batch)
            counts += torch.bincount(target[keep].cpu(), minlength=len(counts))

        def constant(label: int) -> Baseline:
            def answer(batch: Batch) -> Prediction:
                scores = F.one_hot(torch.full(batch.valid.shape, label), len(counts)).float()
                return Prediction(self.name, batch.id, {"event_scores": scores.to(batch.valid.device)})

            return answer

        return {
            "commonest class": constant(int(counts.argmax())),
            "commonest event": constant(1 + int(counts[1:].argmax())),
        }


class WeakEventLocalization(EventLocalization):
    """The same, learnt from the events of the clip alone.

    Loss: binary cross-entropy of each class's and the background's mean probability over the clip's steps, a bag of
    instances (AVEL's weak setting, which averages over steps too).
    """

    name = "ave_weak"
    stepwise = False
    weakly_supervised = True

    def loss(self, out: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`clip`."""
        both = _both(batch)
        present = both.any(1).to(out.dtype)
        share = out.softmax(-1)[..., 1:] * batch.valid[..., None]
        mean = share.sum(1) / batch.valid.sum(1, keepdim=True)
        clip = F.binary_cross_entropy(mean.clamp(1e-6, 1 - 1e-6), present)
        return {"loss": clip, "clip": clip}

    def teach(self, out: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The likeliest of background and the clip's events in each step."""
        possible = F.pad(_both(batch).any(1, keepdim=True), (1, 0), value=True)
        best = out.detach().masked_fill(~possible, -torch.inf).argmax(-1)
        steps = F.one_hot(best, out.shape[-1])[..., 1:].to(torch.uint8)
        return {"audio_segments": steps, "visual_segments": steps}


def _both(batch: Batch) -> Tensor:
    """Bool (B, T, K): heard and seen."""
    heard, seen = batch.targets["audio_segments"], batch.targets["visual_segments"]
    return (heard.bool() & seen.bool()) & batch.valid[..., None]


def target_of(batch: Batch) -> tuple[Tensor, Tensor]:
    """The class of every step with background as 0, (B, T), and which steps have no more than one event."""
    both = _both(batch)
    count = both.sum(-1)
    return torch.where(count > 0, both.int().argmax(-1) + 1, 0), batch.valid & (count <= 1)
