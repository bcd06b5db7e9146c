# SPDX-License-Identifier: Apache-2.0
"""Audio-visual video parsing: which events are heard, seen or both in each step, learned from labels of the clip."""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from avkit.answers import Answer, ModalityLabels
from avkit.answers.encoding import Record
from avkit.batch import Batch, Prediction
from avkit.metrics.avvp import ParsingF1, parse
from avkit.tasks.base import Baseline, Task
from avkit.tasks.stored import index_of, list_entry, number_of, read_each, show

#: Modalities, and the names of their scores.
_SCORES = {"audio": "audio_scores", "visual": "visual_scores"}
#: Share of a step by which a time may be rounded.
_ROUNDING = 1e-4


class VideoParsing(Task):
    """Probabilities of every class by audio and by vision in every step, learned from `video_labels` alone."""

    name = "avvp"
    default_head = "avkit.heads.segment:ParsingHead"
    answers: ClassVar[tuple[type[Answer], ...]] = (ModalityLabels,)
    sequence_forms: ClassVar[tuple[str, ...]] = ("parsing",)
    weakly_supervised = True
    targets = ("video_labels", "audio_segments", "visual_segments")
    evaluation_only = ("audio_segments", "visual_segments")
    sampling_weight = 1.0
    benchmark = "llp"
    prompt = "find which events are heard and which are seen"
    if_absent = "without any event"
    monitor = "segment/Type"
    headline = ("segment/Type", "segment/Event")

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """The ten F-scores."""
        return {"": ParsingF1(len(self.vocabulary.classes))}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score all steps."""
        audio = prediction["audio_scores"]
        metrics[""].update(
            audio,
            prediction["visual_scores"],
            batch.targets["audio_segments"].to(audio.device),
            batch.targets["visual_segments"].to(audio.device),
            prediction["clip_scores"],
            batch.valid.to(audio.device),
            batch.id,
        )

    def records(self, prediction: Prediction, batch: Batch) -> list[Record]:
        """`audio` and `visual`: label, start and end in seconds of each event after the official thresholds."""
        records: list[Record] = [{"id": name} for name in batch.id]
        for modality, scores in _SCORES.items():
            segments = parse(prediction[scores], prediction["clip_scores"]) & batch.valid[..., None]
            for record, classes in zip(records, segments.cpu(), strict=True):
                record[modality] = self._events(classes, batch)
        return records

    def _events(self, segments: Tensor, batch: Batch) -> list[list[str | float]]:
        """Label, start and end of each run of segments, bool (T, K)."""
        edges = F.pad(segments.T.int(), (1, 1)).diff(dim=1)
        starts = (edges > 0).nonzero().tolist()
        ends = (edges < 0).nonzero().tolist()
        events: list[list[str | float]] = []
        for (label, start), (_, end) in zip(starts, ends, strict=True):
            times = [step * batch.hop + batch.offset for step in (start, end)]
            events.append([self.vocabulary.classes[label], *times])
        return events

    def prediction(self, records: Sequence[Record], batch: Batch) -> Prediction:
        """The events as scores of 0 and 1; times are rounded down to whole steps, as the official code rounds."""
        shape = (*batch.valid.shape, len(self.vocabulary.classes))
        values = {scores: torch.zeros(shape) for scores in _SCORES.values()}
        index = {name: number for number, name in enumerate(self.vocabulary.classes)}

        def read(record: Record, row: int) -> None:
            for modality, scores in _SCORES.items():
                for event in list_entry(record, modality):
                    label, start, end = _parse_event(event, modality)
                    first, last = _steps_of(start, end, batch, row)
                    values[scores][row, first:last, index_of(label, index, "class")] = 1

        read_each(records, read)
        return Prediction(self.name, batch.id, {**values, "clip_scores": torch.ones(shape[0], shape[2])})

    def absent(self, batch: Batch) -> list[Record]:
        """No events."""
        return [{"id": name, "audio": [], "visual": []} for name in batch.id]

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """No event; every class that is in half of the clips; and the commonest class everywhere."""
        labels = torch.cat([batch.targets["video_labels"] for batch in batches])
        share = labels.float().mean(0).cpu()
        return {
            "nothing": self._constant(torch.zeros_like(share)),
            "classes of every other clip": self._constant((share >= 0.5).float()),
            "commonest class": self._constant(F.one_hot(share.argmax(), len(share)).float()),
        }

    def _constant(self, classes: Tensor) -> Baseline:
        """The same classes, (K,) of 0 and 1, in every step of both modalities."""

        def answer(batch: Batch) -> Prediction:
            clip = classes.to(batch.valid.device).expand(len(batch), -1)
            steps = clip[:, None].expand(-1, batch.valid.shape[1], -1)
            values = {"audio_scores": steps, "visual_scores": steps, "clip_scores": clip}
            return Prediction(self.name, batch.id, values)

        return answer


def _parse_event(event: object, modality: str) -> tuple[object, float, float]:
    """Label, start and end of an event of a record."""
    if not isinstance(event, list) or len(event) != 3:
        raise ValueError(f"{modality!r} holds {show(event)}; give [label, start, end]")
    return event[0], number_of(event[1], "a start"), number_of(event[2], "an end")


def _steps_of(start: float, end: float, batch: Batch, row: int) -> tuple[int, int]:
    """The first step of an event, and the one behind its last."""
    first, last = (int((time - batch.offset) / batch.hop + _ROUNDING) for time in (start, end))
    steps = int(batch.valid[row].sum())
    if not batch.offset <= start <= end or last > steps:
        latest = steps * batch.hop + batch.offset
        raise ValueError(
            f"an event lasts from {start:g} to {end:g} s; give {batch.offset:g} <= start <= end <= {latest:g} s"
        )
    return first, last
