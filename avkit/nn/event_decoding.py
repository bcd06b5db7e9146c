# SPDX-License-Identifier: Apache-2.0
"""Dense events from the points of a temporal pyramid: candidates, suppression, seconds."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from avkit.batch import Batch
from avkit.nn.event_levels import EventLevel
from avkit.nn.event_nms import Detections, decode_level, suppress_events


def decode_events(levels: Sequence[EventLevel], batch: Batch) -> list[Tensor]:
    """Events of each clip, (N, 4): start s, end s, class and score, by descending score, at most 100.

    Steps become seconds here and nowhere else.
    """
    scores = [level.logits.float().sigmoid().cpu().numpy() for level in levels]
    offsets = [level.offsets.float().cpu().numpy() for level in levels]
    points = [level.points.float().cpu().numpy() for level in levels]
    valid = [level.valid.cpu().numpy() for level in levels]
    videos = []
    for row in range(len(valid[0])):
        parts = []
        for number, level in enumerate(levels):
            keep = valid[number][row]
            kept_offsets = offsets[number][row][keep]
            parts.append(decode_level(scores[number][row][keep], kept_offsets, points[number][keep], level.stride))
        videos.append(join_detections(parts))
    rows = []
    for (segments, probabilities, labels), duration in zip(
        suppress_events(videos), batch.duration.tolist(), strict=True
    ):
        seconds = (segments * batch.hop + batch.offset).clip(0, duration)
        events = np.column_stack([seconds, labels, probabilities])
        rows.append(torch.from_numpy(events.astype(np.float32)))
    return rows


def join_detections(parts: Sequence[Detections]) -> Detections:
    """The candidates of all levels of a video."""
    segments = np.concatenate([part[0] for part in parts])
    probabilities = np.concatenate([part[1] for part in parts])
    labels = np.concatenate([part[2] for part in parts])
    return segments, probabilities, labels
