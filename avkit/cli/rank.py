# SPDX-License-Identifier: Apache-2.0
"""The number of a process among those that were started together, before it is connected with them."""

import os


def process_rank() -> int:
    """The number as torchrun, SLURM, Lightning or the user has put it into the environment; 0 if alone."""
    names = ["RANK"] if "RANK" in os.environ else ["NODE_RANK", "LOCAL_RANK"]
    if "LOCAL_RANK" not in os.environ and "SLURM_NTASKS" in os.environ:
        names = ["SLURM_PROCID"]
    texts = [os.environ.get(name, "") for name in names]
    return max(int(text) if text.isdecimal() else 0 for text in texts)
