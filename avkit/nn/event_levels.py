# SPDX-License-Identifier: Apache-2.0
"""Dense events as a network gives them: class logits and boundary offsets at the points of a temporal pyramid."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class EventLevel:
    """One level of the pyramid; a point stands for `stride` steps.

    Attributes:
        logits: Classes (B, N, K) at each point.
        reach: Distance from the point back to the start and on to the end, in units of `stride`, (B, N, K, 2), from 0;
            (B, N, 2) where all classes share it.
        valid: bool (B, N), False on padding.
        stride: Steps between two points.
        first: Place of the first point in steps; in the middle of the steps that it stands for where None.
    """

    logits: Tensor
    reach: Tensor
    valid: Tensor
    stride: int
    first: float | None = None

    @property
    def points(self) -> Tensor:
        """Places of the points in steps, (N,)."""
        first = self.stride / 2 if self.first is None else self.first
        return torch.arange(self.valid.shape[1], device=self.valid.device) * self.stride + first
