# SPDX-License-Identifier: Apache-2.0
"""The criterion of UnAV and CCNet: which events points are trained on, and a loss with a moving normaliser."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from avkit.batch import Batch, Losses
from avkit.errors import unknown_name
from avkit.nn.event_levels import EventLevel
from avkit.nn.event_options import EventLossOptions
from avkit.nn.losses import distance_iou_loss, generalised_iou_loss, over_processes, sigmoid_focal_loss

#: Losses of boundaries by name.
SEGMENT_LOSSES = {"diou": distance_iou_loss, "giou": generalised_iou_loss}
#: Smallest and largest offset, in steps, that each level answers for, both included.
RANGES = ((0.0, 4.0), (4.0, 8.0), (8.0, 16.0), (16.0, 32.0), (32.0, 64.0), (64.0, 10000.0))


class PointTargets(NamedTuple):
    """Targets of the points of all levels, one after the other.

    Attributes:
        classes: 1 where an event of the class is assigned to the point, (N, K).
        offsets: Distances to its start and end in units of the level, (N, K, 2), or (N, 2) where classes share them; 0
            where there is none.
    """

    classes: Tensor
    offsets: Tensor


def assign_events(
    segments: Tensor,
    labels: Tensor,
    classes: int,
    lengths: Sequence[int],
    aware: bool = True,
    ranges: Sequence[tuple[float, float]] = RANGES,
    centre_radius: float = 0.0,
) -> PointTargets:
    """Which events every point is trained on.

    A point is at a multiple of its level's stride. It is trained on an event that contains it and whose longer offset
    is within the level's range; of several of one class on the boundaries of the last listed, and where classes share
    boundaries on the shortest event alone.

    Args:
        segments: Starts and ends in steps, the middle of the first step being 0, (E, 2).
        labels: Classes, (E,).
        classes: Number of classes K.
        lengths: Points of each level, finest first; level l has stride 2^l.
        aware: Whether every class has boundaries of its own.
        ranges: See `RANGES`.
        centre_radius: Largest distance of a point from the middle of its event, in strides of its level; 0 for any.

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/datasets/unav100.py`, which loops over points.
    """
    grid = _PointGrid.of(lengths, ranges, segments.device)
    if not len(segments):
        target = torch.zeros(len(grid.point), classes, device=segments.device)
        return PointTargets(target, target.new_zeros((*target.shape, 2) if aware else (len(target), 2)))
    offsets = torch.stack([grid.point - segments[:, :1], segments[:, 1:] - grid.point], -1)  # (E, N, 2)
    longer = offsets.amax(-1)
    fits = (offsets.amin(-1) > 0) & (longer >= grid.low) & (longer <= grid.high)
    if centre_radius:
        from_middle = (offsets[..., 0] - offsets[..., 1]).abs() / 2
        fits &= from_middle <= centre_radius * grid.stride
    if aware:
        return _last_of_each_class(offsets, fits, labels, classes, grid.stride)
    return _shortest(offsets, fits, segments, labels, classes, grid.stride)


class _PointGrid(NamedTuple):
    """Position, stride and range of offsets of every point, (N,) each."""

    point: Tensor
    stride: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], ranges: Sequence[tuple[float, float]], device: torch.device) -> "_PointGrid":
        rows = []
        for level, (length, (low, high)) in enumerate(zip(lengths, ranges, strict=True)):
            stride = torch.full((length,), 2.0**level, device=device)
            point = torch.arange(length, device=device) * 2.0**level
            rows.append((point, stride, torch.full_like(stride, low), torch.full_like(stride, high)))
        return cls(*(torch.cat(parts) for parts in zip(*rows, strict=True)))


def _last_of_each_class(offsets: Tensor, fits: Tensor, labels: Tensor, classes: int, stride: Tensor) -> PointTargets:
    """Boundaries of the last listed event of each class."""
    points = offsets.shape[1]
    last = torch.full((classes, points), -1, device=offsets.device)
    rank = torch.where(fits, torch.arange(len(offsets), device=offsets.device)[:, None], -1)
    last.scatter_reduce_(0, labels[:, None].expand_as(rank), rank, "amax")
    label, point = (last >= 0).nonzero(as_tuple=True)
    target = torch.zeros(points, classes, device=offsets.device)
    target[point, label] = 1
    chosen = offsets.new_zeros(points, classes, 2)
    chosen[point, label] = offsets[last[label, point], point]
    return PointTargets(target, chosen / stride[:, None, None])


def _shortest(
    offsets: Tensor, fits: Tensor, segments: Tensor, labels: Tensor, classes: int, stride: Tensor
) -> PointTargets:
    """Boundaries of the shortest event of all classes."""
    points = offsets.shape[1]
    length = torch.where(fits, (segments[:, 1] - segments[:, 0])[:, None], torch.inf)
    shortest, which = length.min(0)
    event, point = (fits & (length <= shortest + 1e-3)).nonzero(as_tuple=True)
    target = torch.zeros(points, classes, device=offsets.device)
    target[point, labels[event]] = 1
    nearest = offsets[which, torch.arange(points, device=offsets.device)]
    return PointTargets(target, torch.where(fits.any(0)[:, None], nearest, 0) / stride[:, None])


class Normaliser(nn.Module):
    """Moving average of the number of positive points, by which the losses are divided.

    Args:
        start: Value before the first step.
        momentum: Share of the old value at each step.
    """

    value: Tensor

    def __init__(self, start: float = 250.0, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.tensor(start, dtype=torch.float64))

    def forward(self, positives: Tensor) -> Tensor:
        """Count the positive points of a step in all processes, and return what each process divides its sums by."""
        processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        count = over_processes(positives.double()) * processes
        self.value = self.momentum * self.value + (1 - self.momentum) * count.clamp(min=1)
        return self.value / processes


class EventCriterion(nn.Module):
    """The loss of UnAV and CCNet: focal over classes and IoU over boundaries, by a moving normaliser.

    Args:
        options: Loss and weight of the boundaries, label smoothing, and the normaliser's first value.

    Raises:
        ValueError: If the loss of boundaries is unknown.

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/modeling/multimodal_meta_archs.py`.
    """

    def __init__(self, options: EventLossOptions) -> None:
        super().__init__()
        if options.segment_loss not in SEGMENT_LOSSES:
            raise unknown_name("loss of boundaries", options.segment_loss, SEGMENT_LOSSES)
        self.segment_loss = SEGMENT_LOSSES[options.segment_loss]
        self.centre_radius = options.centre_radius
        self.segment_weight = options.segment_weight
        self.smoothing = options.smoothing
        self.normaliser = Normaliser(options.normaliser)

    def forward(self, levels: Sequence[EventLevel], batch: Batch) -> Losses:
        """`classes` and `segments`, over the valid points of the batch."""
        return self.loss_of(levels, event_point_targets(levels, batch, self.centre_radius))

    def loss_of(self, levels: Sequence[EventLevel], targets: Sequence[PointTargets]) -> Losses:
        """The losses of levels, given each video's targets."""
        valid = torch.cat([level.valid for level in levels], 1)
        logits = torch.cat([level.logits.float() for level in levels], 1)
        offsets = torch.cat([level.offsets.float() for level in levels], 1)
        true_classes = torch.stack([target.classes for target in targets])
        true_offsets = torch.stack([target.offsets for target in targets])
        positive = (true_classes.sum(-1) > 0) & valid
        normaliser = self.normaliser(positive.sum()).to(logits.dtype)
        smoothed = true_classes[valid] * (1 - self.smoothing) + self.smoothing / (logits.shape[-1] + 1)
        classes = sigmoid_focal_loss(logits[valid], smoothed).sum() / normaliser
        predicted, true = _with_boundaries(offsets[positive], true_offsets[positive])
        segments = self.segment_loss(predicted, true).sum() / normaliser
        weight: Tensor | float = self.segment_weight
        if self.segment_weight <= 0:
            weight = classes.detach() / segments.detach().clamp(min=0.01)
        return {"loss": classes + segments * weight, "classes": classes, "segments": segments}


def _with_boundaries(offsets: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets (M, 2) and targets of positive points, (N, 2), or (N, K, 2) where classes have their own boundaries."""
    if offsets.ndim == 2:
        return offsets, target
    pairs = (target > 0).any(-1)
    return offsets[pairs], target[pairs]


def event_point_targets(levels: Sequence[EventLevel], batch: Batch, centre_radius: float = 0.0) -> list[PointTargets]:
    """Targets of each video's points; `centre_radius` as in `assign_events`."""
    lengths = [level.valid.shape[1] for level in levels]
    aware = levels[0].offsets.ndim == 4
    classes = levels[0].logits.shape[-1]
    targets = []
    for events in batch.targets["events"]:
        events = events.to(levels[0].logits.device)
        steps = (events[:, :2] - batch.offset) / batch.hop - 0.5
        ranges = ranges_of(len(lengths))
        targets.append(assign_events(steps, events[:, 2].long(), classes, lengths, aware, ranges, centre_radius))
    return targets


def ranges_of(levels: int) -> tuple[tuple[float, float], ...]:
    """The ranges of a pyramid: `RANGES`, whose last level also takes those of levels that it lacks.

    Raises:
        ValueError: If there are more levels than ranges.
    """
    if levels > len(RANGES):
        raise ValueError(f"The pyramid has {levels} levels; events are assigned to {len(RANGES)} at most.")
    smallest, _ = RANGES[levels - 1]
    _, largest = RANGES[-1]
    return (*RANGES[: levels - 1], (smallest, largest))
