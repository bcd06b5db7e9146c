# SPDX-License-Identifier: Apache-2.0
"""Small tensors that are made on the CPU in every step, such as numbers of words, on their way to a GPU."""

import torch
from torch import Tensor


def sent(x: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on another device, without waiting for what that device still has to do."""
    if device.type != "cuda" or torch.compiler.is_compiling():
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
