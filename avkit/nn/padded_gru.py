# SPDX-License-Identifier: Apache-2.0
"""A GRU over rows of different lengths, which waits for no GPU."""

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from avkit.nn.sent import sent


def read_padded(gru: nn.GRU, rows: Tensor, lengths: Tensor) -> Tensor:
    """Outputs (N, L, D) of a GRU over the first steps of each row, zeros on padding.

    The rows are sorted by numbers that are found on the CPU: `pack_padded_sequence` would wait while it sends its own.

    Args:
        gru: With `batch_first`.
        rows: (N, L, E).
        lengths: Steps of each row, 1 to L, int64 (N,), on the CPU.
    """
    order = lengths.argsort(descending=True, stable=True)
    sorted_rows = rows.index_select(0, sent(order, rows.device))
    packed = pack_padded_sequence(sorted_rows, lengths[order], batch_first=True)
    outputs, _ = pad_packed_sequence(gru(packed)[0], batch_first=True, total_length=rows.shape[1])
    return outputs.index_select(0, sent(order.argsort(), rows.device))
