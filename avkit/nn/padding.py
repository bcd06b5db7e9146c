# SPDX-License-Identifier: Apache-2.0
"""Whether a batch has padding, asked so that graphs of `torch.export` do not depend on the answer."""

import torch
from torch import Tensor


def surely_all(flags: Tensor) -> bool:
    """Whether all entries of a bool tensor are True, so that masking, or the rest of a loop, can be left out.

    A graph that is being traced knows no values: the answer is then False, and the graph does what is always right.
    """
    return not torch.compiler.is_compiling() and bool(flags.all())


def valid_rows(x: Tensor, valid: Tensor) -> Tensor:
    """Rows of the valid steps, (N, ...), of x (C, T, ...); `valid` is bool (C, T).

    A graph that is being traced takes all steps, because it knows no number of valid ones; see `scatter_steps`.
    """
    if torch.compiler.is_compiling() or valid.all():
        return x.flatten(0, 1)
    return x[valid]


def scatter_steps(rows: Tensor, valid: Tensor) -> Tensor:
    """Rows that `valid_rows` took at their places in (C, T, ...), zeros elsewhere; `valid` is bool (C, T)."""
    if torch.compiler.is_compiling():
        steps = rows.unflatten(0, (valid.shape[0], valid.shape[1]))
        keep = valid.reshape(*valid.shape, *[1] * (steps.ndim - 2))
        return steps.masked_fill(~keep, 0)
    if valid.all():
        return rows.unflatten(0, valid.shape)
    out = rows.new_zeros((*valid.shape, *rows.shape[1:]))
    out[valid] = rows
    return out
