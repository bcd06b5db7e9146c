# SPDX-License-Identifier: Apache-2.0
"""Gradients that wait for further steps (`--trainer.accumulate_grad_batches`), as part of a checkpoint."""

import torch
import torch.distributed as dist
from torch import Tensor, nn


def waiting_gradients(module: nn.Module) -> list[dict[str, Tensor]]:
    """The gradients of all processes, in their order, by name of the parameter, on the CPU."""
    here = {name: x.grad.detach().cpu() for name, x in module.named_parameters() if x.grad is not None}
    if not dist.is_initialized():
        return [here]
    gradients: list[dict[str, Tensor]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(gradients, here)
    return gradients


def restore_gradients(module: nn.Module, gradients: dict[str, Tensor]) -> None:
    """Give parameters the gradients that waited when a checkpoint was saved."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in gradients:
                parameter.grad = gradients[name].to(parameter, copy=True)
