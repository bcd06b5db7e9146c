# SPDX-License-Identifier: Apache-2.0
"""The forms in which sequences tell answers: what an item is, what may stand where, to and from the fields of a batch.

Items are tuples of small whole numbers, one per slot: a class, a step, a bin. `Codec` makes tokens of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Batch
from avkit.text.tokenizer import join_words, split_words

if TYPE_CHECKING:
    from avkit.heads.codec import Codec, Written

Item = tuple[int, ...]
#: Size in which masks and heat maps are drawn where no picture says another.
_SIDE = 64
#: Logit of a pixel of a mask.
_SURE = 20.0


class Form(ABC):
    """How one kind of answer is told.

    Args:
        codec: Whose vocabulary.
    """

    #: Kind of token at each place of an item, see `Codec.spans`.
    slots: ClassVar[tuple[str, ...]]
    #: Whether every step has a row of its own, not the clip.
    per_step: ClassVar[bool] = False
    #: Fewest and most items of a row.
    least: ClassVar[int] = 0
    most: ClassVar[int] = 12

    def __init__(self, codec: "Codec") -> None:
        self.codec = codec

    def annotated(self, fields: dict[str, Any], batch: Batch) -> Tensor:
        """Which clips, bool (B,), or steps, (B, T), have a row: all there are, unless a form knows better."""
        return batch.valid if self.per_step else torch.ones(len(batch), dtype=torch.bool, device=batch.valid.device)

    def bounds(
        self, slot: int, item: list[Tensor], before: list[Tensor] | None, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Least value at a slot and one more than the greatest, each (N,); equal where there is none.

        Args:
            slot: Place in the item.
            item: Values before it in the item, each (N,).
            before: All values of the item before, None for the first.
            steps: Steps of the clip, (N,).
        """
        return torch.zeros_like(steps), torch.full_like(steps, self.codec.spans[self.slots[slot]][1])

    @abstractmethod
    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """The items of every row that is kept, at most `most`."""

    @abstractmethod
    def values(self, rows: list[list[Item]], written: "Written", batch: Batch) -> dict[str, Any]:
        """Fields of a `Prediction` from the items of all rows."""


class Events(Form):
    """`ave`: class, first step, step after the last; one after the other, without overlap."""

    slots = ("class", "step", "step")

    def bounds(
        self, slot: int, item: list[Tensor], before: list[Tensor] | None, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """An event begins where the one before has ended, or later."""
        free = torch.zeros_like(steps) if before is None else before[2]
        if slot == 0:
            return torch.zeros_like(steps), (free < steps) * len(self.codec.vocabulary.classes)
        return (free, steps) if slot == 1 else (item[1] + 1, steps + 1)

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """Runs of steps with the same class; of several at once the first."""
        both = fields["audio_segments"].bool() & fields["visual_segments"].bool() & batch.valid[..., None]
        label = torch.where(both.any(-1), both.int().argmax(-1), -1)
        for row in label.tolist():
            edges = [t for t in range(len(row) + 1) if t in (0, len(row)) or row[t] != row[t - 1]]
            yield [(row[start], start, end) for start, end in pairwise(edges) if row[start] >= 0][: self.most]

    def values(self, rows: list[list[Item]], written: "Written", batch: Batch) -> dict[str, Any]:
        """`event_scores` and `event`."""
        names = self.codec.vocabulary.classes
        label = torch.zeros(batch.valid.shape, dtype=torch.long)
        for line, items in zip(label, rows, strict=True):
            for kind, start, end in items:
                line[start:end] = kind + 1
        scores = F.one_hot(label, len(names) + 1).float().to(batch.valid.device)
        event = [[["", *names][k] for k in row] for row in label.tolist()]
        return {"event_scores": scores * _SURE, "event": event}


class Parsing(Form):
    """`avvp`: modality, class, first step, step after the last."""

    slots = ("modality", "class", "step", "step")
    most = 24

    def bounds(
        self, slot: int, item: list[Tensor], before: list[Tensor] | None, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """An event ends after it began, and within the clip."""
        nothing = torch.zeros_like(steps)
        if slot < 2:
            return nothing, nothing + (len(self.codec.vocabulary.classes) if slot else 2)
        return (nothing, steps) if slot == 2 else (item[2] + 1, steps + 1)

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """Runs of steps of each class, what is heard before what is seen."""
        on = torch.stack([fields["audio_segments"].bool(), fields["visual_segments"].bool()], 1)  # (B, 2, T, K)
        on = (on & batch.valid[:, None, :, None]).transpose(2, 3)
        edges = F.pad(on.int(), (1, 1)).diff(dim=-1).cpu()
        for row in edges:
            starts, ends = (row == 1).nonzero().tolist(), (row == -1).nonzero().tolist()
            yield [(*start, end[2]) for start, end in zip(starts, ends, strict=True)][: self.most]

    def values(self, rows: list[list[Item]], written: "Written", batch: Batch) -> dict[str, Any]:
        """`audio_scores`, `visual_scores` and `clip_scores`."""
        kinds = len(self.codec.vocabulary.classes)
        on = torch.zeros(len(rows), 2, batch.valid.shape[1], kinds)
        for line, items in zip(on, rows, strict=True):
            for modality, kind, start, end in items:
                line[modality, start:end, kind] = 1
        on = on.to(batch.valid.device)
        return {"audio_scores": on[:, 0], "visual_scores": on[:, 1], "clip_scores": on.amax((1, 2))}


class Dense(Form):
    """`davel`: class, start and end, each as a step and a part of it."""

    slots = ("class", "step", "part", "step", "part")
    most = 40

    def bounds(
        self, slot: int, item: list[Tensor], before: list[Tensor] | None, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """An event ends after it began, and with the clip at the latest."""
        nothing, parts = torch.zeros_like(steps), self.codec.parts
        if slot == 0:
            return nothing, nothing + len(self.codec.vocabulary.classes)
        if slot == 1:
            return nothing, steps
        if slot == 2:
            return nothing, nothing + parts
        if slot == 3:
            return item[1] + (item[2] == parts - 1).long(), steps + 1
        low = torch.where(item[3] == item[1], item[2] + 1, nothing)
        return low, torch.where(item[3] == steps, nothing + 1, nothing + parts)

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """Events by their start, times rounded to parts of a step."""
        parts = self.codec.parts
        for events, steps in zip(fields["events"], batch.valid.sum(1).tolist(), strict=True):
            found = []
            for start, end, kind in sorted(events.tolist()):
                begin = min(max(round((start - batch.offset) / batch.hop * parts), 0), steps * parts - 1)
                after = min(max(round((end - batch.offset) / batch.hop * parts), begin + 1), steps * parts)
                found.append((int(kind), *divmod(begin, parts), *divmod(after, parts)))
            yield found[: self.most]

    def values(self, rows: list[list[Item]], written: "Written", batch: Batch) -> dict[str, Any]:
        """`event_list`; an event's score is the chance of its class when it was written."""
        size, parts, out = len(self.slots), self.codec.parts, []
        chances, durations = written.chance.tolist(), batch.duration.tolist()
        for items, chance, duration in zip(rows, chances, durations, strict=True):
            starts = [(s + f / parts) * batch.hop + batch.offset for _, s, f, _, _ in items]
            ends = [(e + g / parts) * batch.hop + batch.offset for _, _, _, e, g in items]
            found = [
                [start, min(end, duration), item[0], chance[1 + i * size]]
                for i, (item, start, end) in enumerate(zip(items, starts, ends, strict=True))
                if start < duration
            ]
            out.append(torch.tensor(sorted(found, key=lambda row: -row[3])).reshape(-1, 4))
        return {"event_list": out}


class Boxes(Form):
    """`ssl`: left, top, right and bottom of what sounds in the step."""

    slots = ("bin", "bin", "bin", "bin")
    per_step = True
    most = 4

    def annotated(self, fields: dict[str, Any], batch: Batch) -> Tensor:
        """Steps with a box."""
        found: Tensor = batch.valid & fields["boxes"].isfinite().all(-1).any(-1)
        return found

    def bounds(
        self, slot: int, item: list[Tensor], before: list[Tensor] | None, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Right of left, and below the top."""
        low = torch.zeros_like(steps) if slot < 2 else item[slot - 2] + 1
        return low, torch.full_like(steps, self.codec.bins + (slot >= 2))

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """Boxes, edges rounded to bins."""
        bins = self.codec.bins
        for boxes in fields["boxes"][kept]:
            edges = (boxes[boxes.isfinite().all(-1)].clamp(0, 1) * bins).round().long()
            low = edges[:, :2].clamp(max=bins - 1)
            yield [tuple(row) for row in torch.cat([low, edges[:, 2:].maximum(low + 1)], 1).tolist()][: self.most]

    def values(self, rows: list[list[Item]], written: "Written", batch: Batch) -> dict[str, Any]:
        """`heat`, minus the distance to the nearest box, and `boxes`."""
        most = max(1, *(len(items) for items in rows))
        boxes = torch.full((len(rows), most, 4), torch.nan)
        for line, items in zip(boxes, rows, strict=True):
            if items:
                line[: len(items)] = torch.tensor(items) / self.codec.bins
        boxes = boxes.to(batch.valid.device)
        middles = (torch.arange(_SIDE, device=boxes.device) + 0.5) / _SIDE
        away = torch.maximum(boxes[..., :2, None] - middles, middles - boxes[..., 2:, None]).clamp(
            min=0
        )  # (N, M, 2, S)
        distance = (away[:, :, 0, None, :] ** 2 + away[:, :, 1, :, None] ** 2).nan_to_num(2.0).amin(1).sqrt()
        shape = batch.valid.shape
        return {"heat": -distance.unflatten(0, shape), "boxes": boxes.unflatten(0, shape)}


class Masks(Form):
    """`avs`, `ra_ssu`: for each class that sounds in the step, or for things without one, the class and its mask."""

    per_step = True
    most = 4

    def __init__(self, codec: "Codec") -> None:
        super().__init__(codec)
        self.slots = ("class", *["code"] * codec.code.length)  # type: ignore[misc]

    def annotated(self, fields: dict[str, Any], batch: Batch) -> Tensor:
        """Steps with a mask that is known."""
        known: Tensor = fields["mask_known"].bool() & batch.valid
        return known

    def bounds(
        self, slot: int, item: list[Tensor], before: list[Tensor] | None, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Classes in their order, each once."""
        low, high = super().bounds(slot, item, before, steps)
        return (before[0] + 1, high) if slot == 0 and before is not None else (low, high)

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """The largest masks of each step."""
        plain = len(self.codec.vocabulary.classes)
        for mask, labels in self._pictures(fields, kept, plain):
            present = labels[mask].unique(return_counts=True)
            kinds = present[0][present[1].argsort(descending=True)[: self.most]].sort().values
            codes = self.codec.code.encode(mask & (labels == kinds[:, None, None]))
            yield [(int(k), *row) for k, row in zip(kinds, codes.tolist(), strict=True)]

    def _pictures(self, fields: dict[str, Any], kept: Tensor, plain: int) -> Iterable[tuple[Tensor, Tensor]]:
        """Mask, bool (H, W), and the class of each of its pixels."""
        masks = fields["mask"][kept].bool()
        labels = (
            fields["class_mask"][kept].long() - 1
            if "class_mask" in fields
            else torch.full_like(masks, plain, dtype=torch.long)
        )
        return zip(masks, torch.where(labels < 0, plain, labels), strict=True)

    def values(self, rows: list[list[Item]], written: "Written", batch: Batch) -> dict[str, Any]:
        """`mask`, `mask_logits` and, where there are classes, `class_scores` and `class_mask`."""
        device, kinds = batch.valid.device, len(self.codec.vocabulary.classes)
        size = tuple(batch.frames.shape[-2:]) if batch.frames is not None else (_SIDE, _SIDE)
        owner = [n for n, items in enumerate(rows) for _ in items]
        flat = torch.tensor([item for items in rows for item in items], device=device).reshape(
            len(owner), len(self.slots)
        )
        drawn = self.codec.code.decode(flat[:, 1:].long(), size)  # type: ignore[arg-type]
        label = torch.zeros(len(rows), *size, dtype=torch.long, device=device)
        for n, kind, mask in zip(owner, flat[:, 0].tolist(), drawn, strict=True):
            label[n][mask] = int(kind) + 1
        label = label.unflatten(0, batch.valid.shape)
        mask = (label > 0).float()
        values: dict[str, Any] = {"mask": mask, "mask_logits": (2 * mask - 1) * _SURE}
        if kinds:
            named = torch.where(label > kinds, 0, label)
            scores = F.one_hot(named, kinds + 1).movedim(-1, 2).float() * _SURE
            values |= {"class_scores": scores, "class_mask": named}
        return values


class Caption(Form):
    """`ra_ssu`: the words of the step's caption."""

    slots = ("word",)
    per_step = True
    most = 40

    def annotated(self, fields: dict[str, Any], batch: Batch) -> Tensor:
        """Steps with a caption."""
        texts = fields["caption"]
        length = batch.valid.shape[1]
        said = [[bool(text) for text in row] + [False] * (length - len(row)) for row in texts]
        return torch.tensor(said, device=batch.valid.device) & batch.valid

    def bounds(
        self, slot: int, item: list[Tensor], before: list[Tensor] | None, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Any word that is known."""
        low, high = super().bounds(slot, item, before, steps)
        return low + 4, high

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """Words, those that are not known as such."""
        index = self.codec.words.index
        for texts, row in zip(fields["caption"], kept.tolist(), strict=True):
            for text in (t for t, keep in zip(texts, row, strict=False) if keep):
                yield [(index.get(word, 3),) for word in split_words(text)][: self.most]

    def values(self, rows: list[list[Item]], written: "Written", batch: Batch) -> dict[str, Any]:
        """`caption`."""
        texts = [join_words([self.codec.words.words[i] for (i,) in items]) for items in rows]
        length = batch.valid.shape[1]
        return {"caption": [texts[i : i + length] for i in range(0, len(texts), length)]}


class Answer(Form):
    """`avqa`: one answer."""

    slots = ("answer",)
    least = most = 1

    def annotated(self, fields: dict[str, Any], batch: Batch) -> Tensor:
        """Questions whose answer is in the vocabulary."""
        known = set(self.codec.vocabulary.answers)
        return torch.tensor([answer in known for answer in fields["answer"]], device=batch.valid.device)

    def items(self, fields: dict[str, Any], batch: Batch, kept: Tensor) -> Iterable[Sequence[Item]]:
        """The answer's number."""
        answers = self.codec.vocabulary.answers
        return [[(answers.index(a),)] for a, keep in zip(fields["answer"], kept.tolist(), strict=True) if keep]

    def values(self, rows: list[list[Item]], written: "Written", batch: Batch) -> dict[str, Any]:
        """`answer` and `answer_scores`."""
        first, count = self.codec.spans["answer"]
        answers = [self.codec.vocabulary.answers[items[0][0]] for items in rows]
        return {"answer": answers, "answer_scores": written.first[:, first : first + count]}


#: By name, in the order of their tokens.
FORMS: dict[str, type[Form]] = {
    "events": Events,
    "parsing": Parsing,
    "dense": Dense,
    "boxes": Boxes,
    "masks": Masks,
    "caption": Caption,
    "answer": Answer,
}
