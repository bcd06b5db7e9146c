# SPDX-License-Identifier: Apache-2.0
"""Encoders, backbone and heads as one paper puts them together; one file each."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from avkit.errors import unknown_name
from avkit.systems.base import SystemConfig

if TYPE_CHECKING:
    from avkit.systems.official import OfficialNetwork

#: The system of a run that names none.
DEFAULT = "av_unified"
#: Systems by the name that `--model.system.name` takes, and where their configs live.
SYSTEMS: dict[str, str] = {
    "av_unified": "avkit.systems.av_unified:AVUnifiedConfig",
    "ssuformer": "avkit.systems.ssuformer:SSUFormerConfig",
    "ccnet": "avkit.systems.ccnet:CCNetConfig",
    "unav": "avkit.systems.unav:UnAVConfig",
    "han": "avkit.systems.han:HANConfig",
    "mm_pyramid": "avkit.systems.mm_pyramid:MMPyramidConfig",
    "avel": "avkit.systems.avel:AVELConfig",
    "psp": "avkit.systems.psp:PSPConfig",
    "tspm": "avkit.systems.tspm:TSPMConfig",
    "avst": "avkit.systems.avst:AVSTConfig",
    "pstp": "avkit.systems.pstp:PSTPConfig",
    "avsegformer": "avkit.systems.avsegformer:AVSegFormerConfig",
    "tpavi": "avkit.systems.tpavi:TPAVIConfig",
    "ez_vsl": "avkit.systems.ez_vsl:EZVSLConfig",
    "lvs": "avkit.systems.lvs:LVSConfig",
}
#: Networks of papers that take official checkpoints, by the name that `avkit convert` takes.
NETWORKS: dict[str, str] = {
    "ccnet": "avkit.systems.ccnet:CCNet",
    "unav": "avkit.systems.unav:UnAV",
    "han": "avkit.systems.han:HAN",
    "mm_pyramid": "avkit.systems.mm_pyramid:MMPyramid",
    "avel": "avkit.systems.avel:AVEL",
    "psp": "avkit.systems.psp:PSP",
    "tspm": "avkit.systems.tspm:TSPM",
    "avst": "avkit.systems.avst:AVST",
    "pstp": "avkit.systems.pstp:PSTP",
    "avsegformer": "avkit.systems.avsegformer:AVSegFormer",
    "tpavi": "avkit.systems.tpavi:TPAVI",
    "ez_vsl": "avkit.systems.ez_vsl:EZVSL",
    "lvs": "avkit.systems.lvs:LVS",
}


def find_network(name: str) -> "type[OfficialNetwork]":
    """The class of a network.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in NETWORKS:
        raise unknown_name("system", name, NETWORKS)
    module, _, attribute = NETWORKS[name].partition(":")
    found: type[OfficialNetwork] = getattr(import_module(module), attribute)
    return found


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
