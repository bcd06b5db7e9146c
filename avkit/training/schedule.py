# SPDX-License-Identifier: Apache-2.0
"""Weight decay of parameters, and the learning rate of every step."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn


def fuses(precision: str) -> bool:
    """Whether AdamW updates all weights in one operation; Lightning cannot clip scaled gradients of such a one."""
    return "mixed" not in precision


def groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups of an optimizer: matrices get weight decay; biases, norms and gains do not."""
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in parameters:
        if parameter.requires_grad:
            (matrices if parameter.ndim > 1 else vectors).append(parameter)
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def cosine(step: int, rise: int, total: int) -> float:
    """Factor of the learning rate: a linear rise that starts above 0, then a cosine down to 0.

    Args:
        step: Number of the step, from 0.
        rise: Steps of the rise.
        total: Steps of the run.
    """
    if step < rise:
        return (step + 1) / rise
    return _fall(step, rise, total)


def late_cosine(step: int, rise: int, total: int) -> float:
    """ActionFormer's factor of the learning rate, see `cosine`.

    The rise starts at 0, so that the first step changes nothing, and the cosine starts one step later: the last step of
    the rise and the step after it both have the full rate.

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/utils/lr_schedulers.py`; its floor of 1e-8 is left out.
    """
    if step < rise:
        return step / max(1, rise - 1)
    return _fall(step, rise, total)


def _fall(step: int, rise: int, total: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total - rise))))


#: Schedules by name: the factor of the learning rate at a step, given the steps of the rise and all steps.
SCHEDULES: dict[str, Callable[[int, int, int], float]] = {"cosine": cosine, "late_cosine": late_cosine}


def rate_factor(schedule: str, warmup: float, total: int) -> Callable[[int], float]:
    """Factor of the learning rate at each step.

    Args:
        schedule: One of `SCHEDULES`.
        warmup: Share of all steps in which the rate rises.
        total: Steps of the run.
    """
    factor = SCHEDULES[schedule]
    rise = max(1, round(warmup * total))
    return lambda step: factor(step, rise, total)
