# SPDX-License-Identifier: Apache-2.0
"""Dense events at every point of a temporal feature pyramid: the default head of `davel`."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch, Losses, Prediction, Tokens
from avkit.heads.base import Head, HeadInputs
from avkit.heads.segment import ClassSteps
from avkit.nn.event_decoding import decode_events
from avkit.nn.event_levels import EventLevel
from avkit.nn.losses import distance_iou_loss, mean_of, sigmoid_focal_loss

#: Largest offset that a level answers for, in units of its stride; half of it is the smallest, the next finer level's.
MAX_OFFSET = 4.0


class MaskedConvBlock(nn.Module):
    """Convolution over time, norm over channels and ReLU, with zeros on padding so that it changes nothing.

    Args:
        width: Channels out.
        stride: 1 or 2.
        inputs: Channels in, `width` where None.
    """

    def __init__(self, width: int, stride: int = 1, inputs: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs or width, width, 3, stride, 1)
        self.norm = nn.LayerNorm(width)
        self.stride = stride

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """From (B, N, D) and bool (B, N) to both at every `stride`-th point."""
        y = self.conv(x.transpose(1, 2)).transpose(1, 2)
        kept = valid[:, :: self.stride]
        return self.norm(y).relu() * kept[..., None], kept


@dataclass(frozen=True)
class PyramidOptions:
    """Options of the pyramid head.

    Attributes:
        levels: Number of levels; each halves the number of points.
        channels: Width of the pyramid.
    """

    levels: int = 5
    channels: int = 96


class PyramidHead(Head):
    """Events of every class, each detected at the level that suits its length; the default head of `davel`.

    Every level halves the number of points; two convolutional towers, shared by all levels, give the class logits of a
    point and the offsets to the start and end of its event. The class evidence of the steps that a point stands for,
    averaged, adds to its logits, so that classes learned by other tasks of a joint run count here from the start. Time
    and memory grow linearly with the number of steps. The general form of ActionFormer, UnAV and CCNet.

    A point is trained on the events that contain it and whose longer offset its level answers for; of several of one
    class on the shortest. Loss: focal over classes and distance-IoU over segments, both per positive point (UnAV).

    Args:
        inputs: Width of the tokens and classes.
        options: Sizes of the pyramid.
    """

    Options = PyramidOptions
    needs_maps = False

    def __init__(self, inputs: HeadInputs, options: PyramidOptions = PyramidOptions()) -> None:
        super().__init__()
        channels = options.channels
        self.levels = options.levels
        self.number = inputs.need_classes()
        self.classes = ClassSteps(inputs.width, self.number)
        self.start = MaskedConvBlock(channels, inputs=2 * (inputs.width + self.number))
        self.deepen = MaskedConvBlock(channels)
        self.down = nn.ModuleList(MaskedConvBlock(channels, 2) for _ in range(options.levels - 1))
        self.towers = nn.ModuleDict({name: MaskedConvBlock(channels) for name in ("classification", "regression")})
        self.classification = nn.Conv1d(channels, self.number, 3, padding=1)
        self.regression = nn.Conv1d(channels, 2 * self.number, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(options.levels))
        assert self.classification.bias is not None
        nn.init.constant_(self.classification.bias, -1.0)  # with the evidence, 1 in 100 points starts positive

    def forward(self, tokens: Tokens, batch: Batch) -> list[EventLevel]:
        """The levels, finest first."""
        steps = self.classes(tokens)
        evidence = F.logsigmoid(steps.logits).sum(2).transpose(1, 2)
        features = torch.cat([steps.features, steps.logits.tanh()], -1).flatten(2) * tokens.valid[..., None]
        x, valid = self.start(features, tokens.valid)
        x = x + self.deepen(x, valid)[0]
        levels = []
        for number in range(self.levels):
            if number:
                x, valid = self.down[number - 1](x, valid)
            mean_evidence = mean_over(evidence, tokens.valid, 2**number)
            levels.append(self._level(number, x, valid, mean_evidence))
        return levels

    def _level(self, number: int, x: Tensor, valid: Tensor, evidence: Tensor) -> EventLevel:
        """Logits and offsets of one level from features (B, N, D) and class evidence (B, K, N)."""
        classification = self.towers["classification"](x, valid)[0].transpose(1, 2)
        regression = self.towers["regression"](x, valid)[0].transpose(1, 2)
        logits = (self.classification(classification) + evidence).transpose(1, 2)
        offsets = F.softplus(self.regression(regression).transpose(1, 2) * self.scale[number])
        return EventLevel(logits, offsets.unflatten(2, (self.number, 2)), valid, 2**number)

    def loss(self, output: list[EventLevel], batch: Batch) -> Losses:
        """`classes` and `segments`."""
        classes = output[0].logits.new_zeros(())
        segments = output[0].logits.new_zeros(())
        positives = output[0].logits.new_zeros(())
        for number, level in enumerate(output):
            target = level_targets(level, batch, first=number == 0, last=number == len(output) - 1)
            positive = target.isfinite().all(-1)
            focal = sigmoid_focal_loss(level.logits, positive.to(level.logits.dtype))
            classes = classes + focal.where(level.valid[..., None], 0).sum()
            apart = distance_iou_loss(level.offsets, target.where(positive[..., None], 0))
            segments = segments + apart.where(positive, 0).sum()
            positives = positives + positive.sum()
        class_loss = mean_of(classes, positives)
        segment_loss = mean_of(segments, positives)
        return {"loss": class_loss + segment_loss, "classes": class_loss, "segments": segment_loss}

    def predict(self, output: Sequence[EventLevel], batch: Batch) -> Prediction:
        """`event_list`, see `decode_events`."""
        return Prediction(batch.task, batch.id, {"event_list": decode_events(output, batch)})


def mean_over(x: Tensor, valid: Tensor, stride: int) -> Tensor:
    """Means of (B, C, T) over `stride` steps each, (B, C, ceil(T / stride)), of valid steps (B, T) alone."""
    keep = valid[:, None].to(x.dtype)
    both = F.avg_pool1d(torch.cat([x * keep, keep], 1), stride, ceil_mode=True, count_include_pad=False)
    return both[:, :-1] / both[:, -1:].clamp(min=1 / stride)


def level_targets(level: EventLevel, batch: Batch, first: bool, last: bool) -> Tensor:
    """Offsets (B, N, K, 2) of the event that each point is trained on, per class; NaN where there is none."""
    middles = level.points * batch.hop + batch.offset
    unit = level.stride * batch.hop
    targets = torch.full_like(level.offsets, torch.nan)
    for target, events, valid in zip(targets, batch.targets["events"], level.valid, strict=True):
        if not len(events):
            continue
        longest_first = (events[:, 0] - events[:, 1]).argsort()
        events = events.to(targets.device)[longest_first.to(targets.device)]
        offsets = torch.stack([middles - events[:, :1], events[:, 1:2] - middles], -1) / unit  # (E, N, 2)
        longer = offsets.amax(-1)
        fits = (offsets.amin(-1) > 0) & valid & (longer <= (torch.inf if last else MAX_OFFSET))
        if not first:
            fits &= longer > MAX_OFFSET / 2
        rank = torch.arange(len(events), device=targets.device)[:, None]
        labels = events[:, 2].long()[:, None].expand_as(fits)
        best = torch.full(target.shape[:2][::-1], -1, device=targets.device)
        best.scatter_reduce_(0, labels, torch.where(fits, rank, -1), "amax")
        point = torch.arange(best.shape[1], device=best.device)
        of_best = offsets[best.clamp(min=0), point].to(target.dtype)  # (K, N, 2)
        target.copy_(of_best.where((best >= 0)[..., None], torch.nan).transpose(0, 1))
    return targets
