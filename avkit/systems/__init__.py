# SPDX-License-Identifier: Apache-2.0
"""Encoders, backbone and heads as one paper puts them together; one file each."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from avkit.errors import unknown_name
from avkit.systems.base import SystemConfig

#: The system of a run that names none.
DEFAULT = "av_unified"
#: Systems by the name that `--model.system.name` takes, and where their configs live.
SYSTEMS: dict[str, str] = {
    "av_unified": "avkit.systems.av_unified:AVUnifiedConfig",
    "ssuformer": "avkit.systems.ssuformer:SSUFormerConfig",
}


def find_config(name: str) -> type[Any]:
    """The class of a system's config.

    Raises:
        ValueError: If the system is unknown.
    """
    if name not in SYSTEMS:
        raise unknown_name("system", name, SYSTEMS)
    module, _, attribute = SYSTEMS[name].partition(":")
    found: type[Any] = getattr(import_module(module), attribute)
    return found


def make_config(given: Mapping[str, Any] | None) -> SystemConfig:
    """The config of a run's file, the default system's where there is none.

    Raises:
        ValueError: If the system is unknown.
    """
    given = dict(given or {})
    made: SystemConfig = find_config(given.pop("name", DEFAULT))(**given)
    return made
