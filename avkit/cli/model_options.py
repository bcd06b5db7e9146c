# SPDX-License-Identifier: Apache-2.0
"""The options of the model depend on its system, which is looked up before the command line is parsed."""

from collections.abc import Sequence
from typing import Any

from avkit.cli.given_options import last_value
from avkit.systems import DEFAULT, find_config
from avkit.systems.base import SystemConfig
from avkit.training.module import AVModel


def chosen_system(args: Sequence[str]) -> str:
    """The name of the system that a command chooses, by option or in a config file; the last one counts."""
    return str(last_value(args, "model.system.name") or DEFAULT)


def model_class(system: str) -> type[AVModel]:
    """The model with the options of one system, so that the command line takes these options only.

    Args:
        system: Name of the system, or `package.module:Class` of a config from outside.

    Raises:
        ValueError: If the system is unknown.
    """
    config = find_config(system)

    class Model(AVModel):
        def __init__(self, system: SystemConfig = config(), **kwargs: Any) -> None:  # noqa: B008, the parser shows it
            super().__init__(system=system, **kwargs)

    Model.__init__.__annotations__["system"] = config
    Model.__doc__ = AVModel.__doc__
    return Model


def reads_whole_clips(system: str) -> bool:
    """Whether a system needs whole clips in training.

    Raises:
        ValueError: If the system is unknown.
    """
    return find_config(system).whole_clips
