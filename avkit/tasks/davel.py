# SPDX-License-Identifier: Apache-2.0
"""Dense audio-visual event localization: every event in an untrimmed video, with start, end and class."""

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from avkit.answers import Answer, Events, Gates
from avkit.answers.encoding import Record
from avkit.batch import Batch, Prediction
from avkit.metrics.davel import EventDetectionMAP
from avkit.metrics.event_recall import EventRecall
from avkit.tasks.base import Baseline, Task
from avkit.tasks.stored import index_of, list_entry, number_of, read_each, show


class DenseEvents(Task):
    """Events that are both heard and seen, as many and as long as there are."""

    name = "davel"
    default_head = "avkit.heads.pyramid:PyramidHead"
    answers: ClassVar[tuple[type[Answer], ...]] = (Events, Gates)
    sequence_forms: ClassVar[tuple[str, ...]] = ("dense",)
    targets = ("events",)
    untrimmed = True
    sampling_weight = 2.2
    benchmark = "unav100"
    prompt = "find every event that is heard and seen, with its start and end"
    if_absent = "without any event"
    monitor = "Avg"
    headline = ("Avg", "mAP@0.5")

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """Average precision at nine overlaps and their mean, and recall by duration."""
        return {"": EventDetectionMAP(), "recall": EventRecall()}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score each video; its length shows times that are no seconds, and nothing is cut at it.

        The official metric cuts nothing either: its decoding ends events with their video, as all of ours do.
        """
        predicted = []
        for rows in prediction["event_list"]:
            predicted.append({"segments": rows[:, :2], "labels": rows[:, 2].long(), "scores": rows[:, 3]})
        true = []
        for rows in batch.targets["events"]:
            true.append({"segments": rows[:, :2], "labels": rows[:, 2].long()})
        for metric in metrics.values():
            metric.update(batch.id, predicted, true, batch.duration)

    def records(self, prediction: Prediction, batch: Batch) -> list[Record]:
        """`events`: start and end in seconds, label and score of each, in the order of the prediction."""
        records: list[Record] = []
        for name, rows in zip(batch.id, prediction["event_list"], strict=True):
            events = []
            for start, end, label, score in rows.double().tolist():
                events.append([start, end, self.vocabulary.classes[int(label)], score])
            records.append({"id": name, "events": events})
        return records

    def prediction(self, records: Sequence[Record], batch: Batch) -> Prediction:
        """The events, in float64, which holds what was float32 as it was."""
        index = {name: number for number, name in enumerate(self.vocabulary.classes)}

        def read(record: Record, row: int) -> Tensor:
            rows = [_parse_event(event, index) for event in list_entry(record, "events")]
            return torch.tensor(rows, dtype=torch.double).reshape(-1, 4)

        return Prediction(self.name, batch.id, {"event_list": read_each(records, read)})

    def absent(self, batch: Batch) -> list[Record]:
        """No events."""
        return [{"id": name, "events": []} for name in batch.id]

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """Every class over the whole video, and in its halves and tenths, with its frequency in training as score."""
        counts: Counter[int] = Counter()
        for batch in batches:
            for events in batch.targets["events"]:
                counts.update(events[:, 2].int().tolist())
        return {
            "the whole video": self._divided(counts, 1),
            "halves": self._divided(counts, 2),
            "tenths": self._divided(counts, 10),
        }

    def _divided(self, counts: Counter[int], number: int) -> Baseline:
        """Every class in each of `number` equal parts of the video."""
        total = max(1, sum(counts.values()))

        def events_of(duration: float) -> Tensor:
            part = duration / number
            rows = []
            for label, count in counts.items():
                for index in range(number):
                    rows.append([index * part, (index + 1) * part, label, count / total])
            return torch.tensor(rows).reshape(-1, 4)

        def answer(batch: Batch) -> Prediction:
            events = [events_of(duration) for duration in batch.duration.tolist()]
            return Prediction(self.name, batch.id, {"event_list": events})

        return answer


def _parse_event(event: object, index: dict[str, int]) -> list[float]:
    """Start, end, number of the class and score of an event of a record."""
    if not isinstance(event, list) or len(event) != 4:
        raise ValueError(f"'events' holds {show(event)}; give [start, end, label, score]")
    start = number_of(event[0], "a start")
    end = number_of(event[1], "an end")
    if not 0 <= start <= end:
        raise ValueError(f"an event lasts from {start:g} to {end:g} s; give 0 <= start <= end in seconds")
    return [start, end, index_of(event[2], index, "class"), number_of(event[3], "a score")]
