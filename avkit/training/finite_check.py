# SPDX-License-Identifier: Apache-2.0
"""Training ends where a loss is no finite number; a GPU is not waited for in every step to find out."""

from dataclasses import dataclass

import torch
from torch import Tensor

from avkit.batch import Losses
from avkit.errors import DivergedError

#: Steps after which a device other than the CPU is asked at the latest.
_ASKED_EVERY = 25


@dataclass
class WatchedStep:
    """The losses of a step, and what an error says of it.

    Attributes:
        losses: `loss` and its parts, scalars without gradient.
        step: Number of the step.
        benchmark: Its task, and dataset where the task has several.
        clips: Some of its clips, by name.
        lr: Learning rate of the training.
    """

    losses: Losses
    step: int
    benchmark: str
    clips: list[str]
    lr: float


class FiniteCheck:
    """Watches the losses of a training: of each step at once on a CPU, else of several steps together."""

    def __init__(self) -> None:
        self._waiting: list[WatchedStep] = []

    def watch(self, step: WatchedStep) -> None:
        """Look at a step now or later.

        Raises:
            DivergedError: If the loss of this or of an earlier step is not a finite number.
        """
        self._waiting.append(step)
        if step.losses["loss"].device.type == "cpu" or len(self._waiting) >= _ASKED_EVERY:
            self.settle()

    def settle(self) -> None:
        """Look at all steps that wait; before weights are kept or scored.

        Raises:
            DivergedError: If the loss of one is not a finite number.
        """
        steps = self._waiting
        self._waiting = []
        if not steps:
            return
        finite: Tensor = torch.stack([step.losses["loss"] for step in steps]).isfinite()
        for step, is_finite in zip(steps, finite.tolist(), strict=True):
            if not is_finite:
                raise _diverged(step)


def _diverged(step: WatchedStep) -> DivergedError:
    parts = ", ".join(f"{name} {value.item():g}" for name, value in step.losses.items())
    return DivergedError(
        f"The loss of task {step.benchmark!r} is not a finite number at step {step.step} ({parts}; clips "
        f"{', '.join(step.clips)} ...). Lower --model.lr (now {step.lr:g}), or set "
        "--trainer.gradient_clip_val 1; the last checkpoint is from before this step."
    )
