# SPDX-License-Identifier: Apache-2.0
"""Convolution over three steps as one matrix product, and modules run on a few rows at a time."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

#: Numbers in a chunk of rows: few enough that intermediate results stay in a core's cache.
CHUNK = 2**18


class Conv3(nn.Module):
    """Convolution over three steps of (B, T, inputs) to (B, T, outputs), with zeros beyond the ends.

    Neighbouring steps are concatenated before the matrix product where there are no more channels before it than after,
    and summed after it otherwise. So nothing large is copied, neither features nor weights.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        bias: Whether to add a bias.
        dilation: Distance in steps between the three.
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
        if inputs <= outputs:
            return self._concatenate_first(x)
        return self._sum_afterwards(x, outputs, inputs)

    def _concatenate_first(self, x: Tensor) -> Tensor:
        """The three steps of every window side by side, then one product."""
        steps = x.shape[1]
        d = self.dilation
        padded = F.pad(x, (0, 0, d, d))
        windows = torch.cat([padded[:, :steps], padded[:, d : d + steps], padded[:, 2 * d :]], -1)
        return F.linear(windows, self.weight.flatten(1), self.bias)

    def _sum_afterwards(self, x: Tensor, outputs: int, inputs: int) -> Tensor:
        """One product per step for its three places in a window, then shifted sums."""
        steps = x.shape[1]
        d = self.dilation
        products = F.linear(x, self.weight.view(-1, inputs)).unflatten(2, (outputs, 3))
        before, here, after = products.unbind(3)
        y = here + F.pad(before, (0, 0, d, 0))[:, :steps] + F.pad(after, (0, 0, 0, d))[:, d:]
        return y if self.bias is None else y + self.bias


def run_in_chunks(module: Callable[..., Tensor], rows: Tensor, valid: Tensor | None) -> Tensor:
    """`module(rows, rows, valid)` for rows that do not depend on each other.

    On a CPU the module is run on a few rows at a time, which is faster. Where gradients are wanted, only rows and
    results are kept, and the module is run again in the backward pass.

    Args:
        module: Takes rows twice, and which of their steps are valid.
        rows: (N, L, D).
        valid: bool (N, L); None where all steps are.
    """
    if rows.device.type != "cpu" or rows.numel() <= CHUNK:
        return module(rows, rows, valid)
    size = max(1, CHUNK // rows[0].numel())
    chunks = rows.split(size)
    masks: list[Tensor | None] = [None] * len(chunks) if valid is None else list(valid.split(size))
    if torch.is_grad_enabled():
        results = []
        for chunk, mask in zip(chunks, masks, strict=True):
            results.append(checkpoint(module, chunk, chunk, mask, use_reentrant=False))
        return torch.cat(results)
    out = torch.empty_like(rows)
    for chunk, mask, place in zip(chunks, masks, out.split(size), strict=True):
        place.copy_(module(chunk, chunk, mask))
    return out
