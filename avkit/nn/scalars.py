# SPDX-License-Identifier: Apache-2.0
"""Learned numbers, kept as vectors of one element, which can be spread over devices as other weights can."""

from typing import Any

import torch
from torch import Tensor, nn


def learned_number(module: nn.Module, name: str, value: float) -> nn.Parameter:
    """A parameter (1,) for an attribute of a module, which also reads state dicts in which it has no dimension.

    Args:
        module: The module.
        name: Name of the attribute.
        value: The number at the beginning.
    """

    def add_dimension(_: nn.Module, state: dict[str, Tensor], prefix: str, *others: Any) -> None:
        stored = state.get(prefix + name)
        if stored is not None and stored.ndim == 0:
            state[prefix + name] = stored.reshape(1)

    module.register_load_state_dict_pre_hook(add_dimension)
    return nn.Parameter(torch.tensor([value]))
