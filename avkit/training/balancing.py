# SPDX-License-Identifier: Apache-2.0
"""Balancing tasks on shared parameters: learnt loss weights, and gradients that do not conflict."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

#: What `--model.balance` takes.
BALANCES = ("fixed", "uncertainty")


class UncertaintyWeights(nn.Module):
    """Weights each task's loss by a learnt factor: `exp(-s) loss + s`, with s the logarithm of the task's variance.

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
    """Projects out of a step's gradient what conflicts with the last gradient of each other task.

    Two gradients conflict if their dot product is negative. Since a step has one task, the other tasks are represented
    by their own last steps. All processes see the same summed gradients, so they do the same.

    Source:
        Yu et al. 2020, PCGrad (arXiv 2001.06782), Algorithm 1, in the order of tasks.
    """

    def __init__(self) -> None:
        #: The last gradient of each task, before surgery, (number of parameters,).
        self.last: dict[str, Tensor] = {}

    def operate(self, task: str, parameters: Iterable[nn.Parameter]) -> int:
        """Change the gradients in place; returns the number of tasks that they conflicted with."""
        held = list(parameters)
        original = _flat_gradient(held)
        gradient = original.clone()
        conflicts = 0
        for name in sorted(self.last):
            other = self.last[name]
            dot = gradient @ other
            if name != task and dot < 0:
                gradient -= dot / (other @ other).clamp(min=1e-20) * other
                conflicts += 1
        self.last[task] = original
        if conflicts:
            _set_gradient(held, gradient)
        return conflicts


def _flat_gradient(parameters: Sequence[nn.Parameter]) -> Tensor:
    """All gradients in one vector, zeros where a parameter has none."""
    parts = []
    for parameter in parameters:
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parts.append(gradient.flatten())
    return torch.cat(parts)


def _set_gradient(parameters: Sequence[nn.Parameter], gradient: Tensor) -> None:
    """Write a vector of all gradients back to the parameters that have one."""
    start = 0
    for parameter in parameters:
        end = start + parameter.numel()
        if parameter.grad is not None:
            parameter.grad.copy_(gradient[start:end].view_as(parameter))
        start = end
