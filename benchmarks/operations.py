# SPDX-License-Identifier: Apache-2.0
"""Parameters and multiply-adds of networks, for `systems.py`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def counts(network: nn.Module, run: Callable[[], Any], thop: bool) -> dict[str, str]:
    """Parameters and multiply-adds of one sample's answer."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    counted = {"parameters": f"{sum(p.numel() for p in network.parameters()):,}"}
    counted["GMAC"] = f"{counter.get_total_flops() / 2e9:.2f}"
    if thop:
        operations = layer_operations(network, run)
        counted["parameters, thop"] = f"{sum(p.numel() for m in operations for p in m.parameters()):,}"
        counted["GMAC, thop"] = f"{sum(operations.values()) / 1e9:.2f}"
    return counted


def layer_operations(network: nn.Module, run: Callable[[], Any]) -> dict[nn.Module, int]:
    """Multiply-adds of each linear layer and convolution that is called."""
    operations: dict[nn.Module, int] = {}

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
        weight: Tensor = module.weight  # type: ignore[assignment]
        operations[module] = operations.get(module, 0) + output.numel() * weight[0].numel()

    layers = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))]
    hooks = [m.register_forward_hook(hook) for m in layers]
    with torch.no_grad():
        network.train()  # in evaluation some layers are fused, and not called
        run()
        network.eval()
    for handle in hooks:
        handle.remove()
    return operations
