# SPDX-License-Identifier: Apache-2.0
"""How much each task may pull at what all share: learnt loss weights, and gradients that do not undo each other."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

#: What `--model.balance` takes.
BALANCES = ("fixed", "uncertainty")


class UncertaintyWeights(nn.Module):
    """A learnt weight per task: `exp(-s) loss + s`, with s the logarithm of the task's variance.

    Args:
        names: Task names.

    Source:
        Kendall, Gal and Cipolla 2018 (arXiv 1705.07115), Eq. 7, with the factor of classification for all.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = list(names)
        self.log_variance = nn.Parameter(torch.zeros(len(self.names)))

    def forward(self, task: str, loss: Tensor) -> Tensor:
        """The weighted loss of a step of `task`."""
        s = self.log_variance[self.names.index(task)]
        return (-s).exp() * loss + s

    def weights(self) -> dict[str, float]:
        """The factor of each task's loss."""
        return dict(zip(self.names, (-self.log_variance).exp().tolist(), strict=True))


class GradientSurgery:
    """Takes out of a step's gradient what opposes the last gradient of any other task.

    Since a step has one task, the others are represented by their own last steps. All processes see the same summed
    gradients, so they do the same.

    Source:
        Yu et al. 2020, PCGrad (arXiv 2001.06782), Algorithm 1, in the order of tasks.
    """

    def __init__(self) -> None:
        #: The last gradient of each task, before surgery.
        self.last: dict[str, Tensor] = {}

    def operate(self, task: str, parameters: Iterable[nn.Parameter]) -> int:
        """Change the gradients in place; returns how many other tasks they opposed."""
        held = list(parameters)
        raw = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in held])
        found, opposed = raw.clone(), 0
        for name in sorted(self.last):
            other = self.last[name]
            dot = found @ other
            if name != task and dot < 0:
                found -= dot / (other @ other).clamp(min=1e-20) * other
                opposed += 1
        self.last[task] = raw
        if opposed:
            start = 0
            for p in held:
                if p.grad is not None:
                    p.grad.copy_(found[start : start + p.numel()].view_as(p))
                start += p.numel()
        return opposed
