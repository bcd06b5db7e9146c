# SPDX-License-Identifier: Apache-2.0
"""The state of random numbers in a checkpoint, so that a resumed run draws what an uninterrupted one would."""

import torch
from torch import Tensor


def random_state() -> dict[str, Tensor]:
    """State of torch's generators in this process, `torch` and, where there is a GPU, `cuda`."""
    state = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Tensor]) -> None:
    """Set torch's generators to what `random_state` returned."""
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu())
