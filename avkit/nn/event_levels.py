# SPDX-License-Identifier: Apache-2.0
"""Dense events as a network gives them: class logits and boundary offsets at the points of a temporal pyramid."""

from dataclasses import dataclass

import torch
from torch import Tensor

from avkit.batch import exportable


@exportable
@dataclass
class EventLevel:
    """One level of the pyramid; a point stands for `stride` steps.

    Attributes:
        logits: Classes (B, N, K) at each point.
        offsets: Distances from the point back to the start and on to the end of its event, in units of `stride`, 0 or
            more, (B, N, K, 2); (B, N, 2) where all classes share them.
        valid: bool (B, N), False on padding.
        stride: Steps between two points.
        first: Position of the first point in steps; the middle of the steps that it stands for where None.
        audio_gate: How much each point matters by its sound, (B, N) in (0, 1); None where the network has no gates.
        visual_gate: The same by its pictures.
    """

    logits: Tensor
    offsets: Tensor
    valid: Tensor
    stride: int
    first: float | None = None
    audio_gate: Tensor | None = None
    visual_gate: Tensor | None = None

    @property
    def points(self) -> Tensor:
        """Positions of the points in steps, (N,)."""
        first = self.stride / 2 if self.first is None else self.first
        return torch.arange(self.valid.shape[1], device=self.valid.device) * self.stride + first
