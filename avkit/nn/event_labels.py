# SPDX-License-Identifier: Apache-2.0
"""Targets of event localization: the one event per step that is both audible and visible."""

import torch
from torch import Tensor

from avkit.batch import Batch, Targets


def both_modalities(batch: Batch, targets: Targets | None = None) -> Tensor:
    """Bool (B, T, K): classes audible and visible in each step, by the batch's targets or by others in their place."""
    targets = batch.targets if targets is None else targets
    audible = targets["audio_segments"].bool()
    visible = targets["visual_segments"].bool()
    return audible & visible & batch.valid[..., None]


def event_targets(batch: Batch, targets: Targets | None = None) -> tuple[Tensor, Tensor]:
    """The class of every step with background as 0, int64 (B, T), and which steps count, bool (B, T).

    Steps with several events do not count. Other targets than the batch's may stand in their place.
    """
    events = both_modalities(batch, targets)
    count = events.sum(-1)
    first = events.int().argmax(-1) + 1
    return torch.where(count > 0, first, 0), batch.valid & (count <= 1)
