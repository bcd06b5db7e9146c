# SPDX-License-Identifier: Apache-2.0
"""A GRU over rows of different lengths, which waits for no GPU."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from avkit.nn.sent import sent


def read_padded(gru: nn.GRU, rows: Tensor, lengths: Tensor) -> Tensor:
    """Outputs (N, L, D) of a GRU over the first steps of each row, zeros on padding.

    The rows are sorted by numbers that are found on the CPU: `pack_padded_sequence` would wait while it sends its own.

    Args:
        gru: Of one layer, with `batch_first`.
        rows: (N, L, E).
        lengths: Steps of each row, 1 to L, int64 (N,), on the CPU.
    """
    if torch.compiler.is_compiling():
        return _read_unpacked(gru, rows, sent(lengths, rows.device))
    order = lengths.argsort(descending=True, stable=True)
    sorted_rows = rows.index_select(0, sent(order, rows.device))
    packed = pack_padded_sequence(sorted_rows, lengths[order], batch_first=True)
    outputs, _ = pad_packed_sequence(gru(packed)[0], batch_first=True, total_length=rows.shape[1])
    return outputs.index_select(0, sent(order.argsort(), rows.device))


def _read_unpacked(gru: nn.GRU, rows: Tensor, lengths: Tensor) -> Tensor:
    """The same without packed rows, which no graph can hold: each direction begins where a row does."""
    steps = torch.arange(rows.shape[1], device=rows.device)
    inside = steps < lengths[:, None]
    outputs = [_read_direction(gru, rows, "")]
    if gru.bidirectional:
        backwards = (lengths[:, None] - 1 - steps).where(inside, steps)[..., None]
        read = _read_direction(gru, rows.take_along_dim(backwards, 1), "_reverse")
        outputs.append(read.take_along_dim(backwards, 1))
    return torch.cat(outputs, dim=-1) * inside[..., None]


def _read_direction(gru: nn.GRU, rows: Tensor, suffix: str) -> Tensor:
    """Outputs of one direction of a GRU, from the first step to the last."""
    weights = [getattr(gru, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    state = rows.new_zeros(1, len(rows), gru.hidden_size)
    # layers, share that is dropped, training, bidirectional, batch first
    outputs: Tensor = torch.gru(rows, state, weights, True, 1, 0.0, gru.training, False, True)[0]
    return outputs
