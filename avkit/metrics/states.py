# SPDX-License-Identifier: Apache-2.0
"""What one batch adds to the states of a metric, so that it can be added elsewhere, in the order of the data.

Sums of floats depend on the order in which they are added. Where each batch is added as a whole, one after the other,
it does not matter which process has scored it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torchmetrics import Metric


class SparseState(NamedTuple):
    """A state without its zeros.

    Attributes:
        shape: Of the whole.
        places: Of the values in the flattened state.
        values: What is not zero.
    """

    shape: torch.Size
    places: Tensor
    values: Tensor


#: States of a metric by name.
States: TypeAlias = "dict[str, Tensor | list[Tensor]]"
#: The same as they are sent.
PackedStates: TypeAlias = "dict[str, Tensor | list[Tensor] | SparseState]"

#: Elements from which on a state is sent without its zeros.
_LARGE = 4096


@contextmanager
def added_states(metric: Metric) -> Iterator[States]:
    """The states that updates in the block would have left in a new metric; the metric itself stays as it was.

    Args:
        metric: The metric.

    Yields:
        The states, filled when the block ends; empty where it had no update.
    """
    before = dict(metric.metric_state)
    count = metric._update_count
    added: States = {}
    for name, default in metric._defaults.items():
        setattr(metric, name, default.clone().to(metric.device) if isinstance(default, Tensor) else [])
    try:
        yield added
        if metric._update_count > count:
            added |= metric.metric_state
    finally:
        for name, state in before.items():
            setattr(metric, name, state)
        metric._update_count = count


def add_states(metric: Metric, states: States) -> None:
    """Add what `added_states` gave behind what the metric has."""
    if not states:
        return
    before = dict(metric.metric_state)
    for name, state in states.items():
        setattr(metric, name, state)
    metric._update_count += 1
    metric._computed = None
    metric._reduce_states(before)


def pack_states(states: States) -> PackedStates:
    """States on the CPU, large ones without their zeros."""
    packed: PackedStates = {}
    for name, state in states.items():
        if isinstance(state, list):
            packed[name] = [part.cpu() for part in state]
            continue
        flat = state.cpu().flatten()
        places = flat.nonzero()[:, 0] if len(flat) > _LARGE else flat.new_zeros(len(flat))
        if 4 * len(places) < len(flat):
            packed[name] = SparseState(state.shape, places, flat[places])
        else:
            packed[name] = state.cpu()
    return packed


def unpack_states(packed: PackedStates, device: torch.device) -> States:
    """What `pack_states` was given, on a device."""
    states: States = {}
    for name, state in packed.items():
        if isinstance(state, SparseState):
            whole = state.values.new_zeros(state.shape.numel())
            whole[state.places] = state.values
            states[name] = whole.view(state.shape).to(device)
        elif isinstance(state, Tensor):
            states[name] = state.to(device)
        else:
            states[name] = [part.to(device) for part in state]
    return states
