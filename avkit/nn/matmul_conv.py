# SPDX-License-Identifier: Apache-2.0
"""Convolution over three steps as one matrix product, and modules run on a few rows at a time."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

#: Numbers of a part: so few that what is made of them on the way stays in a core's cache.
PART = 2**18


class Conv3(nn.Module):
    """Convolution over three steps of (B, T, inputs) to (B, T, outputs), zeros beyond the ends.

    The neighbours are put side by side before the product where there are fewer channels before it, and summed after it
    where there are fewer after it: so nothing large is copied, neither features nor weights.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        bias: Whether to add one.
        dilation: Steps between what is seen.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True, dilation: int = 1) -> None:
        super().__init__()
        conv = nn.Conv1d(inputs, outputs, 3, bias=bias)
        self.dilation = dilation
        #: (outputs, 3, inputs)
        self.weight = nn.Parameter(conv.weight.detach().mT.contiguous())
        self.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """From (B, T, inputs) to (B, T, outputs)."""
        outputs, _, inputs = self.weight.shape
        d, steps = self.dilation, x.shape[1]
        if inputs <= outputs:
            wide = F.pad(x, (0, 0, d, d))
            around = torch.cat([wide[:, i * d : i * d + steps] for i in range(3)], -1)
            return F.linear(around, self.weight.flatten(1), self.bias)
        before, here, after = F.linear(x, self.weight.view(-1, inputs)).unflatten(2, (outputs, 3)).unbind(3)
        found = here + F.pad(before, (0, 0, d, 0))[:, :steps] + F.pad(after, (0, 0, 0, d))[:, d:]
        return found if self.bias is None else found + self.bias


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
