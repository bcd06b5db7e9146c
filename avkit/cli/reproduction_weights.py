# SPDX-License-Identifier: Apache-2.0
"""Official weights of an experiment: whose network they are of, and the options that no weight tells."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from avkit.errors import AvkitError
from avkit.leaderboard import Experiment
from avkit.leaderboard.recipes import Option
from avkit.systems import NETWORKS, find_network
from avkit.systems.checkpoints import OfficialNetwork, read_converted


def network_of(experiment: Experiment) -> type[OfficialNetwork]:
    """The network whose official weights an experiment takes.

    Raises:
        ValueError: If its system has none.
    """
    name = str(_system_options(experiment).get("name", "av_unified"))
    if name not in NETWORKS:
        raise ValueError(
            f"{experiment.id} is of {name}, of which no official weights are known. Train it: --train. Those of "
            f"{', '.join(NETWORKS)} can be converted."
        )
    return find_network(name)


def options_to_set(experiment: Experiment, network: type[OfficialNetwork]) -> list[str]:
    """Words of `avkit convert` for the network's options that the recipe states."""
    names = {attribute.name for attribute in fields(network.Options)} | set(network.sizes())
    words: list[str] = []
    for name, value in _system_options(experiment).items():
        if name in names and name != "name":
            words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return words


def is_converted(path: Path) -> bool:
    """Whether `avkit convert` wrote a file."""
    if path.suffix != ".safetensors":
        return False
    try:
        read_converted(path)
    except AvkitError:
        return False
    return True


def _system_options(experiment: Experiment) -> Mapping[str, Option]:
    model = experiment.all_options().get("model")
    system = model.get("system") if isinstance(model, dict) else None
    return system if isinstance(system, dict) else {}
