# SPDX-License-Identifier: Apache-2.0
"""The steps that TSPM selected for each question, and the features of these steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from avkit.batch import exportable


@exportable
@dataclass
class Selection:
    """Steps selected for each question.

    Attributes:
        clip: Clip of each question, int64 (B,).
        chosen: Indices of the steps, int64 (B, k).
        weights: How much each step matters, (B, T); None where all steps are used.
        valid: Which of the selected steps count, bool (B, k); all where None.
    """

    clip: Tensor
    chosen: Tensor
    weights: Tensor | None
    valid: Tensor | None

    def first(self) -> Tensor:
        """Indices of as many steps from the start of the clip, (B, k)."""
        steps = torch.arange(self.chosen.shape[1], device=self.chosen.device)
        return steps.expand_as(self.chosen)

    def of(self, features: Tensor, steps: Tensor) -> Tensor:
        """Features (C, T, ...) of steps (B, k): (B, k, ...)."""
        return features[self.clip[:, None], steps]

    def straight_through(self) -> Tensor:
        """Factors of one for the selected steps, (B, k, 1), with the gradient of the logarithm of their weights."""
        assert self.weights is not None
        log_weights = self.weights.gather(1, self.chosen)[..., None].clamp(min=1e-12).log()
        return 1 + (log_weights - log_weights.detach())


def repeat_last(chosen: Tensor, valid: Tensor) -> Tensor:
    """Indices (B, k), with those that are not `valid`, bool (B, k), replaced by the largest valid one of their row."""
    last = chosen.masked_fill(~valid, -1).amax(1, keepdim=True)
    return chosen.where(valid, last)
