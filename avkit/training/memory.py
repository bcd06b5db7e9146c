# SPDX-License-Identifier: Apache-2.0
"""Whether a training fits into the memory that is free."""

import sys
from contextlib import suppress
from pathlib import Path

import torch

_GB = 1e9
#: Bytes that AdamW needs for a trained parameter: the value, its gradient and two moments, in single precision.
_BYTES_TRAINED = 16
_BYTES_FIXED = 4


def least_memory(every: int, trained: int) -> float:
    """Bytes that a training takes at least, without any picture: weights, gradients and the state of AdamW.

    Args:
        every: Number of parameters.
        trained: Number of those that are trained.
    """
    return float(_BYTES_TRAINED * trained + _BYTES_FIXED * (every - trained))


def free_memory(device: torch.device) -> float | None:
    """Bytes that a training could still take: of the GPU, or of this machine without swapping; None where not told."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if sys.platform == "linux":
        with suppress(OSError, ValueError, IndexError):
            text = Path("/proc/meminfo").read_text(encoding="ascii")
            return 1024.0 * int(text.partition("MemAvailable:")[2].split()[0])
    return None


def too_large(needed: float, free: float | None, processes: int, *, least: bool) -> str | None:
    """What to tell a user whose training needs more than what is free; None where it fits or nobody knows.

    Args:
        needed: Bytes that a process needs.
        free: Bytes that are free, see `free_memory`.
        processes: Processes that share them.
        least: Whether weights, gradients and the optimizer alone take so much.
    """
    if free is None or needed * processes <= free:
        return None
    what = "weights, gradients and AdamW's state alone take" if least else "the training takes"
    return (
        f"memory: {what} {needed * processes / _GB:.2f} GB, and {free / _GB:.2f} GB are free. On a CPU it swaps and "
        "takes very much longer, on a GPU it ends with an error. Lower --data.batch_size or the system's sizes; "
        "add --dry_run to see what a training takes."
    )
