# SPDX-License-Identifier: Apache-2.0
"""Encoders, backbone and heads as one paper puts them together; one file each."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from avkit.errors import unknown_name
from avkit.systems.av_unified import AVUnifiedConfig
from avkit.systems.ssuformer import SSUFormerConfig

#: What `--model.system` takes; `--model.system.name` says which.
AnyConfig: TypeAlias = AVUnifiedConfig | SSUFormerConfig

#: Systems by name.
SYSTEMS: dict[str, type[AVUnifiedConfig] | type[SSUFormerConfig]] = {
    "av_unified": AVUnifiedConfig,
    "ssuformer": SSUFormerConfig,
}


def make_config(given: Mapping[str, Any] | None) -> AnyConfig:
    """The config of a run's file, AV-Unified's default where there is none.

    Raises:
        ValueError: If the system is unknown.
    """
    given = dict(given or {})
    name = given.pop("name", "av_unified")
    if name not in SYSTEMS:
        raise unknown_name("system", name, SYSTEMS)
    return SYSTEMS[name](**given)
