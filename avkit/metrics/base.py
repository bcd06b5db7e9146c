# SPDX-License-Identifier: Apache-2.0
"""The base class of all metrics."""

from typing import Any

from torchmetrics import Metric


class ScoreMetric(Metric):  # type: ignore[misc]
    """A score from sums over clips: higher is better, without gradients, and its state is part of `state_dict`."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def add_state(self, *args: Any, persistent: bool = True, **kwargs: Any) -> None:
        """As in torchmetrics, but persistent by default, so that an evaluation can be resumed from its state."""
        super().add_state(*args, persistent=persistent, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._update_count = 1  # else `compute` would warn that there was no update
        self._computed = None
