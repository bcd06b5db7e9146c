# SPDX-License-Identifier: Apache-2.0
"""Events as items: a class with its first step and the step after its last."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Batch
from avkit.heads.forms.base import CERTAIN_LOGIT, Form, Item, Written


class EventForm(Form):
    """`ave`: class, first step, step after the last; one event after the other, without overlap."""

    slots = ("class", "step", "step")

    def bounds(
        self, slot: int, item: list[Tensor], before: list[Tensor] | None, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """An event starts where the one before has ended, or later."""
        free = torch.zeros_like(steps) if before is None else before[2]
        if slot == 0:
            return torch.zeros_like(steps), (free < steps) * self.classes
        if slot == 1:
            return free, steps
        return item[1] + 1, steps + 1

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """Runs of steps with the same class; where several classes happen at once, the first of them."""
        both = fields["audio_segments"].bool() & fields["visual_segments"].bool() & batch.valid[..., None]
        label = torch.where(both.any(-1), both.int().argmax(-1), -1)
        for row in label.tolist():
            yield _runs(row)[: self.max_items]

    def values(self, rows: list[list[Item]], written: Written, batch: Batch) -> dict[str, Any]:
        """`event_logits` and `event`."""
        names = ["", *self.alphabet.vocabulary.classes]
        label = torch.zeros(batch.valid.shape, dtype=torch.long)
        for steps, items in zip(label, rows, strict=True):
            for kind, start, end in items:
                steps[start:end] = kind + 1
        scores = F.one_hot(label, len(names)).float().to(batch.valid.device)
        events = []
        for kinds in label.tolist():
            events.append([names[kind] for kind in kinds])
        return {"event_logits": scores * CERTAIN_LOGIT, "event": events}


def _runs(classes: list[int]) -> list[Item]:
    """Class, first step and step after the last of each run of equal classes; -1 is none."""
    length = len(classes)
    edges = [t for t in range(length + 1) if t in (0, length) or classes[t] != classes[t - 1]]
    return [(classes[start], start, end) for start, end in pairwise(edges) if classes[start] >= 0]


class ParsingForm(Form):
    """`avvp`: modality, class, first step, step after the last."""

    slots = ("modality", "class", "step", "step")
    max_items = 24

    def bounds(
        self, slot: int, item: list[Tensor], before: list[Tensor] | None, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """An event ends after it started, and within the clip."""
        zero = torch.zeros_like(steps)
        if slot == 0:
            return zero, zero + 2
        if slot == 1:
            return zero, zero + self.classes
        if slot == 2:
            return zero, steps
        return item[2] + 1, steps + 1

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """Runs of steps of each class, audible events before visible ones."""
        present = torch.stack([fields["audio_segments"].bool(), fields["visual_segments"].bool()], 1)  # (B, 2, T, K)
        present = (present & batch.valid[:, None, :, None]).transpose(2, 3)
        edges = F.pad(present.int(), (1, 1)).diff(dim=-1).cpu()
        for row in edges:
            starts = (row == 1).nonzero().tolist()
            ends = (row == -1).nonzero().tolist()
            events = [(*start, end[2]) for start, end in zip(starts, ends, strict=True)]
            yield events[: self.max_items]

    def values(self, rows: list[list[Item]], written: Written, batch: Batch) -> dict[str, Any]:
        """`audio_scores`, `visual_scores` and `clip_scores`."""
        present = torch.zeros(len(rows), 2, batch.valid.shape[1], self.classes)
        for scores, items in zip(present, rows, strict=True):
            for modality, kind, start, end in items:
                scores[modality, start:end, kind] = 1
        present = present.to(batch.valid.device)
        return {
            "audio_scores": present[:, 0],
            "visual_scores": present[:, 1],
            "clip_scores": present.amax((1, 2)),
        }


class DenseEventForm(Form):
    """`davel`: class, start and end, each as a step and a part of it."""

    slots = ("class", "step", "part", "step", "part")
    max_items = 40

    def bounds(
        self, slot: int, item: list[Tensor], before: list[Tensor] | None, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """An event ends after it started, and with the clip at the latest."""
        zero = torch.zeros_like(steps)
        parts = self.alphabet.parts
        if slot == 0:
            return zero, zero + self.classes
        if slot == 1:
            return zero, steps
        if slot == 2:
            return zero, zero + parts
        if slot == 3:
            return item[1] + (item[2] == parts - 1).long(), steps + 1
        low = torch.where(item[3] == item[1], item[2] + 1, zero)
        return low, torch.where(item[3] == steps, zero + 1, zero + parts)

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """Events by their start, times rounded to parts of a step."""
        for events, steps in zip(fields["events"], batch.valid.sum(1).tolist(), strict=True):
            items = [self._item(event, steps, batch) for event in sorted(events.tolist())]
            yield items[: self.max_items]

    def _item(self, event: Sequence[float], steps: int, batch: Batch) -> Item:
        """The item of an event: start and end in seconds, class."""
        parts = self.alphabet.parts
        start, end, kind = event
        first = round((start - batch.offset) / batch.hop * parts)
        first = min(max(first, 0), steps * parts - 1)
        last = round((end - batch.offset) / batch.hop * parts)
        last = min(max(last, first + 1), steps * parts)
        return int(kind), *divmod(first, parts), *divmod(last, parts)

    def values(self, rows: list[list[Item]], written: Written, batch: Batch) -> dict[str, Any]:
        """`event_list`; an event's score is the probability of its class when it was written."""
        lists = []
        for items, chance, duration in zip(rows, written.chance.tolist(), batch.duration.tolist(), strict=True):
            class_chances = chance[1 :: len(self.slots)]
            events = []
            for item, score in zip(items, class_chances, strict=False):
                start = self._seconds(item[1], item[2], batch)
                end = self._seconds(item[3], item[4], batch)
                if start < duration:
                    events.append([start, min(end, duration), item[0], score])
            events.sort(key=lambda event: -event[3])
            lists.append(torch.tensor(events).reshape(-1, 4))
        return {"event_list": lists}

    def _seconds(self, step: int, part: int, batch: Batch) -> float:
        """Time of a part of a step."""
        return (step + part / self.alphabet.parts) * batch.hop + batch.offset
