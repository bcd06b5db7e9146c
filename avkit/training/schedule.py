# SPDX-License-Identifier: Apache-2.0
"""How optimisers are set up: which parameters decay, and the learning rate of every step."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

#: Schedules by name: the factor of the learning rate at a step, given the steps of its rise and all steps.
SCHEDULES: dict[str, Callable[[int, int, int], float]] = {}


def groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and gains do not."""
    trained = [p for p in parameters if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def cosine(step: int, rise: int, total: int) -> float:
    """A linear rise that starts above 0, then a cosine down to 0."""
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total - rise))))


def late_cosine(step: int, rise: int, total: int) -> float:
    """ActionFormer's: the first step is lost at 0, the last of the rise and the one after it have the whole rate.

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/utils/lr_schedulers.py`; its floor of 1e-8 is left out.
    """
    if step < rise:
        return step / max(1, rise - 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total - rise))))


SCHEDULES |= {"cosine": cosine, "late_cosine": late_cosine}
