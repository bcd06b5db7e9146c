# SPDX-License-Identifier: Apache-2.0
"""Dense events from the points of a temporal pyramid: candidates, suppression, seconds."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from avkit.batch import Batch
from avkit.nn.event_levels import EventLevel
from avkit.nn.event_nms import decode_level, suppress_events


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
            parts.append(
                decode_level(scores[number][row][keep], offsets[number][row][keep], points[number][keep], level.stride)
            )
        segments, probabilities, labels = zip(*parts, strict=True)
        videos.append((np.concatenate(segments), np.concatenate(probabilities), np.concatenate(labels)))
    events = []
    kept = suppress_events(videos)
    for (segments, probabilities, labels), duration in zip(kept, batch.duration.tolist(), strict=True):
        seconds = (segments * batch.hop + batch.offset).clip(0, duration)
        rows = np.column_stack([seconds, labels, probabilities])
        events.append(torch.from_numpy(rows.astype(np.float32)))
    return events
