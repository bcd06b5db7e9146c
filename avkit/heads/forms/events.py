# SPDX-License-Identifier: Apache-2.0
"""Events as rows of each step: what happens in it, and where in it that starts or ends."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Batch
from avkit.heads.forms.base import CERTAIN_LOGIT, Form, Item, Written
from avkit.heads.forms.stretches import Stretch, cut, join
from avkit.nn.event_labels import event_targets


class EventForm(Form):
    """`ave`: the class of the step, or nothing, which is background."""

    slots = ("class",)
    per_step = True
    max_items = 1

    def annotated(self, fields: dict[str, Any], batch: Batch) -> Tensor:
        """Steps with one event or none; the benchmark has no others."""
        _, counts = event_targets(batch, fields)
        return counts

    def bounds(self, slot: int, item: list[Tensor], before: list[Tensor] | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """Any named class."""
        return like, like + self.classes

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """The class that is both heard and seen."""
        label, _ = event_targets(batch, fields)
        for kind in label[kept].tolist():
            yield [(kind - 1,)] if kind else []

    def values(self, rows: list[list[Item]], written: Written, batch: Batch) -> dict[str, Any]:
        """`event_logits` and `event`."""
        names = ["", *self.alphabet.vocabulary.classes]
        label = torch.tensor([1 + items[0][0] if items else 0 for items in rows]).reshape(batch.valid.shape)
        label = label.masked_fill(~batch.valid.cpu(), 0)
        scores = F.one_hot(label, len(names)).float().to(batch.valid.device)
        events = []
        for kinds in label.tolist():
            events.append([names[kind] for kind in kinds])
        return {"event_logits": scores * CERTAIN_LOGIT, "event": events}


class ParsingForm(Form):
    """`avvp`: the classes heard in the step, then the classes seen."""

    slots = ("heard or seen",)
    per_step = True
    ascending = True
    max_items = 24

    def bounds(self, slot: int, item: list[Tensor], before: list[Tensor] | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """Each class once by sound and once by sight, in order."""
        low = like if before is None else before[0] + 1
        return low, like + 2 * self.classes

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """Classes by number, those that are seen after all that are heard."""
        present = torch.cat([fields["audio_segments"].bool(), fields["visual_segments"].bool()], -1)
        for row in present[kept].cpu():
            numbers = row.nonzero()[:, 0].tolist()
            yield [(number,) for number in numbers[: self.max_items]]

    def values(self, rows: list[list[Item]], written: Written, batch: Batch) -> dict[str, Any]:
        """`audio_scores`, `visual_scores` and `clip_scores`."""
        present = torch.zeros(len(rows), 2 * self.classes)
        for scores, items in zip(present, rows, strict=True):
            scores[[number for (number,) in items]] = 1
        present = present.to(batch.valid.device).unflatten(0, batch.valid.shape)
        present = present.unflatten(-1, (2, self.classes)) * batch.valid[..., None, None]
        return {
            "audio_scores": present[:, :, 0],
            "visual_scores": present[:, :, 1],
            "clip_scores": present.amax((1, 2)),
        }


class DenseEventForm(Form):
    """`davel`: each class that happens in the step, with the part in which it starts and the one in which it ends.

    An event that lasts for several steps goes on from one to the next, so that it has no longest length. Events of one
    class that overlap are written as one. Events are ranked by their probability, so unlikely ones are written too.
    """

    slots = ("class", "start", "end")
    per_step = True
    ascending = True
    least_chance = 0.05
    max_items = 24

    def bounds(self, slot: int, item: list[Tensor], before: list[Tensor] | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """An event ends after it started; one of the same class starts after the end of the one before."""
        parts = self.alphabet.parts
        if slot == 0:
            if before is None:
                return like, like + self.classes
            full = before[2] >= parts - 1  # lasts to the end of the step, or nearly
            return before[0] + full, like + self.classes
        if slot == 1:
            if before is None:
                return like, like + parts + 1
            again = item[0] == before[0]
            return torch.where(again, before[2] + 1, 0), like + parts + torch.where(again, 0, 1)
        return torch.where(item[1] == parts, 0, item[1]), like + parts + 1

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """What each step has of the events, by class."""
        parts = self.alphabet.parts
        for events, steps in zip(fields["events"], batch.valid.sum(1).tolist(), strict=True):
            stretches = [self._stretch(event, steps, batch) for event in events.tolist()]
            for items in cut(stretches, steps, parts):
                yield items[: self.max_items]

    def _stretch(self, event: Sequence[float], steps: int, batch: Batch) -> Stretch:
        """An event (start and end in seconds, class) in parts of steps."""
        parts = self.alphabet.parts
        start, end, kind = event
        first = round((start - batch.offset) / batch.hop * parts)
        first = min(max(first, 0), steps * parts - 1)
        last = round((end - batch.offset) / batch.hop * parts)
        return Stretch(int(kind), first, min(max(last, first + 1), steps * parts))

    def values(self, rows: list[list[Item]], written: Written, batch: Batch) -> dict[str, Any]:
        """`event_list`; an event's score is the mean probability of its class in its steps."""
        parts = self.alphabet.parts
        chances = written.chance[:, 1 :: len(self.slots)].tolist()
        length = batch.valid.shape[1]
        lists = []
        for clip, duration in enumerate(batch.duration.tolist()):
            steps = slice(clip * length, clip * length + int(batch.valid[clip].sum()))
            events = []
            for stretch, score in join(rows[steps], chances[steps], parts):
                start = stretch.start / parts * batch.hop + batch.offset
                end = min(stretch.end / parts * batch.hop + batch.offset, duration)
                if start < end:
                    events.append([start, end, stretch.kind, score])
            events.sort(key=lambda event: -event[3])
            lists.append(torch.tensor(events).reshape(-1, 4))
        return {"event_list": lists}
