# SPDX-License-Identifier: Apache-2.0
"""Dense events as UnAV and CCNet learn and answer them: points, targets, a loss with a moving normaliser."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from avkit.batch import Batch, Vocabulary
from avkit.nn.event_levels import EventLevel
from avkit.nn.losses import distance_iou_loss, over_processes, sigmoid_focal_loss
from avkit.tasks.davel import DenseEvents

#: Least and greatest reach, in steps, that each level answers for; both count as within.
RANGES = ((0.0, 4.0), (4.0, 8.0), (8.0, 16.0), (16.0, 32.0), (32.0, 64.0), (64.0, 10000.0))


class Targets(NamedTuple):
    """What the points of all levels, one after the other, learn.

    Attributes:
        classes: 1 where an event of the class is the point's, (N, K).
        reach: Distances to its start and end in units of the level, (N, K, 2), or (N, 2) where classes share it; 0
            where there is none.
    """

    classes: Tensor
    reach: Tensor


def assign(
    segments: Tensor,
    labels: Tensor,
    classes: int,
    lengths: Sequence[int],
    aware: bool = True,
    ranges: Sequence[tuple[float, float]] = RANGES,
) -> Targets:
    """Which events every point learns from.

    A point lies at a multiple of its level's stride. It learns from an event that it lies within and whose farther end
    is within the level's range; of several of one class from the boundaries of the last listed, and where classes share
    boundaries from the shortest event alone.

    Args:
        segments: Starts and ends in steps, the middle of the first step being 0, (E, 2).
        labels: Classes, (E,).
        classes: Number of classes K.
        lengths: Points of each level, finest first; level l has stride 2^l.
        aware: Whether every class has boundaries of its own.
        ranges: See `RANGES`.

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/datasets/unav100.py`, which loops over points.
    """
    device, number = segments.device, len(segments)
    stride = torch.cat([torch.full((n,), 2.0**i, device=device) for i, n in enumerate(lengths)])
    point = torch.cat([torch.arange(n, device=device) * 2.0**i for i, n in enumerate(lengths)])
    low, high = (
        torch.cat([torch.full((n,), r[side], device=device) for n, r in zip(lengths, ranges, strict=True)])
        for side in (0, 1)
    )
    target = torch.zeros(len(point), classes, device=device)
    if not number:
        return Targets(target, target.new_zeros((*target.shape, 2) if aware else (len(point), 2)))
    reach = torch.stack([point - segments[:, :1], segments[:, 1:] - point], -1)  # (E, N, 2)
    far = reach.amax(-1)
    fits = (reach.amin(-1) > 0) & (far >= low) & (far <= high)
    if aware:
        last = torch.full((classes, len(point)), -1, device=device)
        rank = torch.where(fits, torch.arange(number, device=device)[:, None], -1)
        last.scatter_reduce_(0, labels[:, None].expand_as(rank), rank, "amax")
        label, place = (last >= 0).nonzero(as_tuple=True)
        target[place, label] = 1
        chosen = reach.new_zeros(len(point), classes, 2)
        chosen[place, label] = reach[last[label, place], place]
        return Targets(target, chosen / stride[:, None, None])
    long = torch.where(fits, (segments[:, 1] - segments[:, 0])[:, None], torch.inf)
    shortest, which = long.min(0)
    event, place = (fits & (long <= shortest + 1e-3)).nonzero(as_tuple=True)
    target[place, labels[event]] = 1
    nearest = reach[which, torch.arange(len(point), device=device)]
    return Targets(target, torch.where(fits.any(0)[:, None], nearest, 0) / stride[:, None])


class Normaliser(nn.Module):
    """The moving count of positive points that losses are divided by; hands on what it is given.

    Args:
        start: Before the first step.
        momentum: Share that stays at each step.
    """

    value: Tensor

    def __init__(self, start: float = 250.0, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.tensor(start, dtype=torch.float64))

    def forward(self, levels: list[EventLevel]) -> list[EventLevel]:
        """The levels as they are."""
        return levels

    def update(self, positives: Tensor) -> Tensor:
        """Count the positive points of a step, those of all processes; what their shares are to be divided by."""
        processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        count = over_processes(positives.double()) * processes
        self.value = self.momentum * self.value + (1 - self.momentum) * count.clamp(min=1)
        return self.value / processes


class OfficialDenseEvents(DenseEvents):
    """Dense events with the official targets and loss.

    Args:
        vocabulary: The dataset's classes.
        segment_weight: Factor of the loss of boundaries; 0 or less makes it as large as that of classes.
        smoothing: Label smoothing.
        start: See `Normaliser`.

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/modeling/multimodal_meta_archs.py`.
    """

    forms = ()

    def __init__(
        self, vocabulary: Vocabulary, segment_weight: float = 1.0, smoothing: float = 0.0, start: float = 250.0
    ) -> None:
        super().__init__(vocabulary)
        self.segment_weight, self.smoothing = segment_weight, smoothing
        self.normaliser = Normaliser(start)

    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """The normaliser: the system has found the events already."""
        return self.normaliser

    def loss(self, out: list[EventLevel], batch: Batch) -> dict[str, Tensor]:
        """`classes` and `segments`, of the valid points of the whole batch."""
        return self.loss_of(out, self.level_targets(out, batch))

    def level_targets(self, out: list[EventLevel], batch: Batch) -> list[Targets]:
        """What each video's points learn."""
        lengths, aware = [level.valid.shape[1] for level in out], out[0].reach.ndim == 4
        found = []
        for events in batch.targets["events"]:
            events = events.to(out[0].logits.device)
            steps = (events[:, :2] - batch.offset) / batch.hop - 0.5
            found.append(assign(steps, events[:, 2].long(), out[0].logits.shape[-1], lengths, aware))
        return found

    def loss_of(self, out: list[EventLevel], targets: Sequence[Targets]) -> dict[str, Tensor]:
        """The loss of levels, given what each video's points learn."""
        valid = torch.cat([level.valid for level in out], 1)
        logits, reach = (torch.cat([getattr(level, x).float() for level in out], 1) for x in ("logits", "reach"))
        classes, true = (torch.stack([getattr(t, x) for t in targets]) for x in ("classes", "reach"))
        positive = (classes.sum(-1) > 0) & valid
        normaliser = self.normaliser.update(positive.sum()).to(logits.dtype)
        wanted = classes[valid] * (1 - self.smoothing) + self.smoothing / (logits.shape[-1] + 1)
        first = sigmoid_focal_loss(logits[valid], wanted).sum() / normaliser
        found, true = reach[positive], true[positive]
        if found.ndim == 3:
            pairs = (true > 0).any(-1)
            found, true = found[pairs], true[pairs]
        second = distance_iou_loss(found, true).sum() / normaliser
        weight = self.segment_weight
        factor = first.detach() / second.detach().clamp(min=0.01) if weight <= 0 else weight
        return {"loss": first + second * factor, "classes": first, "segments": second}
