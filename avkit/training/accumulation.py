# SPDX-License-Identifier: Apache-2.0
"""Gradients that wait for further steps (`--trainer.accumulate_grad_batches`), as part of a checkpoint."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from avkit.training.processes import gathered


def waiting_gradients(module: nn.Module) -> list[dict[str, Tensor]]:
    """The gradients of all processes, in their order, by name of the parameter, on the CPU."""
    here = {name: x.grad.detach().cpu() for name, x in module.named_parameters() if x.grad is not None}
    return gathered(here)


def gradients_of(gradients: Sequence[dict[str, Tensor]], rank: int, world_size: int) -> dict[str, Tensor]:
    """The gradients with which a process goes on: its own, or the mean of all where they are of other processes.

    The mean over processes, by which a step is made, stays what it was.

    Args:
        gradients: Of the processes that saved them.
        rank: Number of this process.
        world_size: Number of processes now.
    """
    if len(gradients) == world_size:
        return gradients[rank]
    means: dict[str, Tensor] = {}
    for of_process in gradients:
        for name, gradient in of_process.items():
            means[name] = means.get(name, torch.zeros_like(gradient)) + gradient / len(gradients)
    return means


def restore_gradients(module: nn.Module, gradients: dict[str, Tensor]) -> None:
    """Give parameters the gradients that waited when a checkpoint was saved."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in gradients:
                parameter.grad = gradients[name].to(parameter, copy=True)
