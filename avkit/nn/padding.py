# SPDX-License-Identifier: Apache-2.0
"""Whether a batch has padding, asked so that graphs of `torch.export` do not depend on the answer."""

import torch
from torch import Tensor

from avkit.batch import StepRows


def surely_all(flags: Tensor) -> bool:
    """Whether all entries of a bool tensor are True, so that masking, or the rest of a loop, can be left out.

    A graph that is being traced knows no values: the answer is then False, and the graph does what is always right.
    """
    return not torch.compiler.is_compiling() and bool(flags.all())


def taken(x: Tensor, numbers: Tensor | None) -> Tensor:
    """Rows of x (C, T, ...) by their numbers among all C T, (N, ...); all rows where there are none."""
    rows = x.flatten(0, 1)
    return rows if numbers is None else rows.index_select(0, numbers)


def valid_rows(x: Tensor, valid: Tensor, rows: StepRows | None = None) -> Tensor:
    """Rows of the valid steps, (N, ...), of x (C, T, ...).

    A graph that is being traced takes all steps, because it knows no number of valid ones; see `scatter_steps`.

    Args:
        x: Values of all steps.
        valid: bool (C, T).
        rows: The batch's, so that `valid` need not be asked.
    """
    if rows is not None:
        return taken(x, rows.valid)
    if torch.compiler.is_compiling() or valid.all():
        return x.flatten(0, 1)
    return x[valid]


def scatter_steps(x: Tensor, valid: Tensor, rows: StepRows | None = None) -> Tensor:
    """Rows that `valid_rows` took at their places in (C, T, ...), zeros elsewhere; `valid` and `rows` as there."""
    if rows is not None:
        return _put_back(x, valid, rows.valid)
    if torch.compiler.is_compiling():
        steps = x.unflatten(0, (valid.shape[0], valid.shape[1]))
        keep = valid.reshape(*valid.shape, *[1] * (steps.ndim - 2))
        return steps.masked_fill(~keep, 0)
    if valid.all():
        return x.unflatten(0, valid.shape)
    out = x.new_zeros((*valid.shape, *x.shape[1:]))
    out[valid] = x
    return out


def _put_back(x: Tensor, valid: Tensor, numbers: Tensor | None) -> Tensor:
    """Rows (N, ...) at their numbers in (C, T, ...)."""
    if numbers is not None:
        x = x.new_zeros((valid.numel(), *x.shape[1:])).index_copy(0, numbers, x)
    return x.unflatten(0, valid.shape)
