# SPDX-License-Identifier: Apache-2.0
"""Mean over the valid steps of a sequence."""

from torch import Tensor


def masked_mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """Mean of (N, T, D) over the steps where `valid`, bool (N, T), is true, or over all where None: (N, D)."""
    if valid is None:
        return x.mean(1)
    return (x * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
