# SPDX-License-Identifier: Apache-2.0
"""Convolution over three steps as one matrix product, and modules run on a few rows at a time."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

#: Numbers of a part: so few that what is made of them on the way stays in a core's cache.
PART = 2**18


def conv3(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve over three steps, zeros beyond the ends.

    The neighbours are put side by side before the product where there are fewer channels before it, and summed after it
    where there are fewer after it: so nothing large is copied, neither features nor weights.

    Args:
        x: (B, T, inputs).
        weight: (outputs, 3, inputs).

    Returns:
        (B, T, outputs).
    """
    outputs, _, inputs = weight.shape
    if inputs <= outputs:
        around = F.pad(x, (0, 0, 1, 1)).unfold(1, 3, 1).mT.flatten(2)
        return F.linear(around, weight.flatten(1))
    found = F.linear(x, weight.view(-1, inputs)).unflatten(2, (outputs, 3))
    before, here, after = found.unbind(3)
    return here + F.pad(before[:, :-1], (0, 0, 1, 0)) + F.pad(after[:, 1:], (0, 0, 0, 1))


def in_parts(module: Callable[..., Tensor], rows: Tensor, valid: Tensor | None) -> Tensor:
    """`module(rows, rows, valid)` of rows (N, L, D) that do not touch one another; `valid` is bool (N, L).

    On a CPU it is run on a few rows at a time, which is faster, and while gradients are wanted it keeps no more than
    rows and results, and runs again on the way back.
    """
    if rows.device.type != "cpu" or rows.numel() <= PART:
        return module(rows, rows, valid)
    size = max(1, PART // rows[0].numel())
    if torch.is_grad_enabled():
        found = [
            checkpoint(module, part, part, keep, use_reentrant=False)
            for part, keep in zip(rows.split(size), _split(valid, rows, size), strict=True)
        ]
        return torch.cat(found)
    out = torch.empty_like(rows)
    for part, keep, place in zip(rows.split(size), _split(valid, rows, size), out.split(size), strict=True):
        place.copy_(module(part, part, keep))
    return out


def _split(valid: Tensor | None, rows: Tensor, size: int) -> list[Tensor | None]:
    if valid is None:
        return [None] * -(-len(rows) // size)
    return list(valid.split(size))
