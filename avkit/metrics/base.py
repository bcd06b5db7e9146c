# SPDX-License-Identifier: Apache-2.0
"""What all metrics have in common."""

from typing import Any

from torchmetrics import Metric


class ScoreMetric(Metric):  # type: ignore[misc]
    """A score from sums over clips: greater is better, no gradients, and its state is saved in checkpoints."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def add_state(self, *args: Any, persistent: bool = True, **kwargs: Any) -> None:
        """As in torchmetrics, but kept in `state_dict`, so that an evaluation can go on where it was stopped."""
        super().add_state(*args, persistent=persistent, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._update_count, self._computed = 1, None  # else `compute` would warn that nothing was scored yet
