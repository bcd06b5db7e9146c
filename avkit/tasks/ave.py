# SPDX-License-Identifier: Apache-2.0
"""Audio-visual event localization: the event that is both heard and seen in each step, or background."""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torchmetrics import Metric

from avkit.answers import Answer, StepLabels
from avkit.answers.encoding import Record
from avkit.batch import Batch, Prediction
from avkit.metrics.ave import SegmentAccuracy
from avkit.nn.event_labels import event_targets
from avkit.tasks.base import Baseline, Task
from avkit.tasks.stored import index_of, list_entry, read_each


class EventLocalization(Task):
    """One class, or background, per step.

    An event is a class that is heard and seen in the same step. Steps with several events, which the benchmark does not
    have, are neither trained on nor scored.
    """

    name = "ave"
    default_head = "avkit.heads.segment:EventHead"
    answers: ClassVar[tuple[type[Answer], ...]] = (StepLabels,)
    sequence_forms: ClassVar[tuple[str, ...]] = ("events",)
    targets = ("audio_segments", "visual_segments")
    stepwise = True
    sampling_weight = 0.7
    benchmark = "ave"
    prompt = "find when an event is both heard and seen"
    if_absent = "wrong in each step"
    monitor = "accuracy"
    headline = ("accuracy",)

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """Accuracy over segments."""
        return {"": SegmentAccuracy(len(self.vocabulary.classes) + 1)}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score the steps that have one event or none."""
        scores = prediction["event_logits"]
        target, counts = event_targets(batch)
        metrics[""].update(scores, target.to(scores.device), counts.to(scores.device), batch.id)

    def records(self, prediction: Prediction, batch: Batch) -> list[Record]:
        """`labels`, the class of each step, None for background."""
        names = [None, *self.vocabulary.classes]
        best = prediction["event_logits"].max(-1).indices.cpu()
        records: list[Record] = []
        for name, labels, valid in zip(batch.id, best, batch.valid.cpu(), strict=True):
            records.append({"id": name, "labels": [names[label] for label in labels[valid].tolist()]})
        return records

    def prediction(self, records: Sequence[Record], batch: Batch) -> Prediction:
        """The labels as scores of 0 and 1."""
        labels = torch.zeros(batch.valid.shape, dtype=torch.long)
        index = {name: number for number, name in enumerate(self.vocabulary.classes, 1)}

        def read(record: Record, row: int) -> None:
            steps = int(batch.valid[row].sum())
            given = list_entry(record, "labels", steps, "one for each step")
            numbers = [0 if label is None else index_of(label, index, "class") for label in given]
            labels[row, :steps] = torch.tensor(numbers, dtype=torch.long)

        read_each(records, read)
        scores = F.one_hot(labels, len(index) + 1).float()
        return Prediction(self.name, batch.id, {"event_logits": scores})

    def absent(self, batch: Batch) -> list[Record]:
        """A class in steps of background, and background in those of events."""
        target, _ = event_targets(batch)
        records: list[Record] = []
        for name, labels, valid in zip(batch.id, target, batch.valid, strict=True):
            wrong = [None if label else self.vocabulary.classes[0] for label in labels[valid].tolist()]
            records.append({"id": name, "labels": wrong})
        return records

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """The commonest class of a step, which is nearly always background; and the commonest event."""
        frequency = torch.zeros(len(self.vocabulary.classes) + 1, dtype=torch.long)
        for batch in batches:
            target, counts = event_targets(batch)
            frequency += torch.bincount(target[counts].cpu(), minlength=len(frequency))
        return {
            "commonest class": self._constant(int(frequency.argmax())),
            "commonest event": self._constant(1 + int(frequency[1:].argmax())),
        }

    def _constant(self, label: int) -> Baseline:
        """The same class in every step."""

        def answer(batch: Batch) -> Prediction:
            labels = torch.full(batch.valid.shape, label)
            scores = F.one_hot(labels, len(self.vocabulary.classes) + 1).float()
            return Prediction(self.name, batch.id, {"event_logits": scores.to(batch.valid.device)})

        return answer


class WeakEventLocalization(EventLocalization):
    """As `EventLocalization`, trained from the events of the clip alone."""

    name = "ave_weak"
    default_head = "avkit.heads.segment:WeakEventHead"
    stepwise = False
    weakly_supervised = True
