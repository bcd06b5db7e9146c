# SPDX-License-Identifier: Apache-2.0
"""TadTR's criterion: queries are matched to events one to one, and trained on class, segment and overlap."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avkit.batch import Batch, Losses
from avkit.nn.assignment import assign
from avkit.nn.losses import mean_of, sigmoid_focal_loss
from avkit.systems.tadtr.network import EventSet


@dataclass
class SetLossOptions:
    """Weights of the costs of a match and of the losses.

    Attributes:
        class_weight: Of the focal classification.
        segment_weight: Of the distance of centres and lengths, in shares of the video.
        iou_weight: Of 1 - IoU.
        actionness_weight: Of the error of the predicted overlap.
    """

    class_weight: float = 2.0
    segment_weight: float = 5.0
    iou_weight: float = 2.0
    actionness_weight: float = 4.0


class SetCriterion(nn.Module):
    """The loss of every layer of the decoder, each with a match of its own.

    Args:
        options: Weights.
    """

    def __init__(self, options: SetLossOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, layers: Sequence[EventSet], batch: Batch) -> Losses:
        """`classes`, `segments`, `iou` and `actionness`, the first three summed over layers."""
        events = event_shares(batch)
        zero = layers[0].logits.new_zeros(())
        parts = {"classes": zero, "segments": zero, "iou": zero}
        for layer in layers:
            for name, value in self._of_layer(layer, events).items():
                parts[name] = parts[name] + value
        losses: Losses = dict(parts)
        losses["actionness"] = _actionness_loss(layers[-1], events)
        options = self.options
        losses["loss"] = (
            options.class_weight * losses["classes"]
            + options.segment_weight * losses["segments"]
            + options.iou_weight * losses["iou"]
            + options.actionness_weight * losses["actionness"]
        )
        return losses

    def _of_layer(self, layer: EventSet, events: Sequence[Tensor]) -> dict[str, Tensor]:
        """The losses of one layer, over the events of all videos."""
        target = torch.zeros_like(layer.logits)
        predicted = []
        true = []
        for video, rows in enumerate(events):
            query = self.match(layer, video, rows)
            target[video, query, rows[:, 2].long()] = 1
            predicted.append(layer.segments[video, query])
            true.append(rows[:, :2])
        predicted_segments = torch.cat(predicted)
        true_segments = torch.cat(true)
        count = float(len(true_segments))
        return {
            "classes": mean_of(sigmoid_focal_loss(layer.logits, target).sum(), max(count, 1.0)),
            "segments": mean_of((predicted_segments - true_segments).abs().sum(), count),
            "iou": mean_of((1 - overlap(predicted_segments, true_segments)).sum(), count),
        }

    @torch.no_grad()
    def match(self, layer: EventSet, video: int, events: Tensor) -> Tensor:
        """The query of each event (E, 3) of a video, int64 (E,).

        Raises:
            ValueError: If there are more events than queries.
        """
        logits = layer.logits[video]
        segments = layer.segments[video]
        if len(events) > len(logits):
            raise ValueError(
                f"A video has {len(events)} events, and there are {len(logits)} queries. Give as many: "
                f"--model.system.queries {len(events)}."
            )
        ones = torch.ones_like(logits)
        gain = sigmoid_focal_loss(logits, ones) - sigmoid_focal_loss(logits, ones - 1)
        classes = gain[:, events[:, 2].long()].T  # (E, N)
        distance = (events[:, None, :2] - segments).abs().sum(-1)
        iou = overlap(events[:, None, :2], segments)
        options = self.options
        cost = options.class_weight * classes + options.segment_weight * distance - options.iou_weight * iou
        return torch.from_numpy(assign(cost.double().cpu().numpy())).to(logits.device)


def event_shares(batch: Batch) -> list[Tensor]:
    """Events of each video, (E, 3): centre and length as shares of its valid steps, and class."""
    videos = []
    for rows, seconds in zip(batch.targets["events"], video_seconds(batch), strict=True):
        rows = rows.to(seconds.device)
        start = (rows[:, 0] - batch.offset) / seconds
        end = (rows[:, 1] - batch.offset) / seconds
        videos.append(torch.stack([(start + end) / 2, end - start, rows[:, 2]], 1))
    return videos


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """IoU of segments given by centre and length (..., 2), broadcast."""
    start = torch.maximum(a[..., 0] - a[..., 1] / 2, b[..., 0] - b[..., 1] / 2)
    end = torch.minimum(a[..., 0] + a[..., 1] / 2, b[..., 0] + b[..., 1] / 2)
    shared = (end - start).clamp(min=0)
    return shared / (a[..., 1] + b[..., 1] - shared).clamp(min=1e-8)


def video_seconds(batch: Batch) -> Tensor:
    """Seconds of each video's valid steps, (B,): what segments are shares of."""
    return batch.valid.sum(1).clamp(min=1) * batch.hop


def _actionness_loss(layer: EventSet, events: Sequence[Tensor]) -> Tensor:
    """Distance of the predicted overlap from that with the nearest event, mean over queries."""
    assert layer.actionness is not None
    wanted = torch.zeros_like(layer.actionness)
    for video, rows in enumerate(events):
        if len(rows):
            wanted[video] = overlap(layer.segments[video].detach()[:, None], rows[:, :2]).amax(1)
    return mean_of((layer.actionness - wanted).abs().sum(), float(wanted.numel()))
