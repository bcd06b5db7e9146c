# SPDX-License-Identifier: Apache-2.0
"""Official checkpoint files: the weights of a paper's network, wherever they lie in the file, and whose they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avkit.encoders.state_choice import Fits, choose_state
from avkit.errors import DataError
from avkit.reading.tensors import check_finite

if TYPE_CHECKING:
    from avkit.systems.checkpoints import OfficialNetwork


def read_official(
    path: str | Path,
    network: "type[OfficialNetwork] | None" = None,
    *,
    raw: bool = False,
    key: str | None = None,
    allow_nan: bool = False,
) -> tuple[dict[str, Tensor], list[str]]:
    """The weights of an official checkpoint file, and notes about them for the user.

    Where the file has averaged weights too (`state_dict_ema`, `model_ema`), those, unless `raw`: the authors test with
    them.

    Args:
        path: The file, see `choose_state` for what may stand around the weights.
        network: The network whose weights are sought; None for those that the file holds.
        raw: Take the last weights instead of averaged ones.
        key: Keys that lead to the weights, joined by dots, where the file holds several that fit.
        allow_nan: Take weights that hold NaN or infinite numbers.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no weights, several that fit, or numbers that are not finite; nothing in it is run.
    """
    chosen = choose_state(path, None if network is None else weights_of(network), raw=raw, key=key)
    if not allow_nan:
        check_finite(chosen.tensors, path, "Use a checkpoint from before that, or pass --allow_nan to convert it so.")
    notes = list(chosen.notes)
    if any(x.dtype in (torch.float16, torch.bfloat16) for x in chosen.tensors.values()):
        notes.append("half precision, made float32")
    return chosen.tensors, notes


def weights_of(network: "type[OfficialNetwork]") -> Fits:
    """A function that says whether tensors by key are official weights of a network."""

    def fits(state: Mapping[str, Tensor]) -> bool:
        try:
            return network.recognise(state) is not None
        except (KeyError, IndexError, ValueError, DataError):  # only a part of the weights, or of another shape
            return False

    return fits


def recognise(state: Mapping[str, Tensor]) -> str | None:
    """The system whose official weights these are."""
    from avkit.systems import NETWORKS, find_network

    for name in NETWORKS:
        if weights_of(find_network(name))(state):
            return name
    return None


def weights_of_another(name: str, state: Mapping[str, Tensor]) -> DataError:
    """The error for weights of something else."""
    other = recognise(state)
    advice = f"They are those of {other}: avkit convert {other} FILE" if other else "Check the file"
    examples = ", ".join(map(repr, sorted(state)[:3]))
    return DataError(
        f"These are no official weights of {name}: none of its keys are among their {len(state)}, such as "
        f"{examples}. {advice}."
    )
