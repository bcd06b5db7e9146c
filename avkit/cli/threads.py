# SPDX-License-Identifier: Apache-2.0
"""Cores of this machine, and how many of them the networks take on a CPU."""

import os
import sys


def available_cores() -> int:
    """Cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def leave_cores_to_workers(workers: int) -> None:
    """Have networks use the cores that worker processes leave, at least one, unless `OMP_NUM_THREADS` says how many.

    Threads of one operation wait for the slowest of them: with a thread on every core, one core that does something
    else makes training three times as slow; see benchmarks/RESULTS.md.

    Args:
        workers: Processes that read or render beside the training.
    """
    import torch

    if workers and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), available_cores() - workers)))
