# SPDX-License-Identifier: Apache-2.0
"""Official weights of an experiment: whose network they are of, and the options that no weight tells."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from avkit.errors import AvkitError
from avkit.leaderboard import Experiment
from avkit.leaderboard.recipes import Option
from avkit.reading.text import read_json
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
    """Words of `avkit convert` for the network's options that the recipe states.

    A size of the network and an encoder of the system may have one name, as `text`: the recipe means the encoder then.
    """
    names = {attribute.name for attribute in fields(network.Options)} - {"name"}
    sizes = set(network.sizes())
    words: list[str] = []
    for name, value in _system_options(experiment).items():
        if name in names or (name in sizes and not isinstance(value, str)):
            words += set_option(name, value)
    return words


def set_option(name: str, value: object) -> list[str]:
    """Words of `avkit convert` for an option."""
    return ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]


def sizes_to_set(official: Path) -> list[str]:
    """Words of `avkit convert` for sizes of random weights that these do not show, such as AVST's known words."""
    path = sizes_file(official)
    if not path.exists():
        return []
    words: list[str] = []
    for name, value in read_json(path).items():
        words += set_option(name, value)
    return words


def sizes_file(official: Path) -> Path:
    """The file of sizes that lies beside random weights which do not show them."""
    return official.with_name(f"{official.stem}-sizes.json")


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
