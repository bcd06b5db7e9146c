# SPDX-License-Identifier: Apache-2.0
"""Encoders, backbone and heads as one paper puts them together; one file each."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from avkit.errors import unknown_name
from avkit.systems.base import SystemConfig

if TYPE_CHECKING:
    from avkit.systems.checkpoints import OfficialNetwork

#: The system of a run that names none.
DEFAULT = "av_unified"
#: Systems by the name that `--model.system.name` takes, and where their configs live.
SYSTEMS: dict[str, str] = {
    "av_unified": "avkit.systems.av_unified.system:AVUnifiedConfig",
    "ssuformer": "avkit.systems.ssuformer.network:SSUFormerConfig",
    "ccnet": "avkit.systems.ccnet.network:CCNetConfig",
    "unav": "avkit.systems.unav.network:UnAVConfig",
    "han": "avkit.systems.han.network:HANConfig",
    "mm_pyramid": "avkit.systems.mm_pyramid.network:MMPyramidConfig",
    "avel": "avkit.systems.avel.network:AVELConfig",
    "psp": "avkit.systems.psp.network:PSPConfig",
    "tspm": "avkit.systems.tspm.network:TSPMConfig",
    "avst": "avkit.systems.avst.network:AVSTConfig",
    "pstp": "avkit.systems.pstp.network:PSTPConfig",
    "avsegformer": "avkit.systems.avsegformer.network:AVSegFormerConfig",
    "tpavi": "avkit.systems.tpavi.network:TPAVIConfig",
    "ez_vsl": "avkit.systems.ez_vsl.network:EZVSLConfig",
    "lvs": "avkit.systems.lvs.network:LVSConfig",
}
#: Networks of papers that take official checkpoints, by the name that `avkit convert` takes.
NETWORKS: dict[str, str] = {
    "ccnet": "avkit.systems.ccnet.network:CCNet",
    "unav": "avkit.systems.unav.network:UnAV",
    "han": "avkit.systems.han.network:HAN",
    "mm_pyramid": "avkit.systems.mm_pyramid.network:MMPyramid",
    "avel": "avkit.systems.avel.network:AVEL",
    "psp": "avkit.systems.psp.network:PSP",
    "tspm": "avkit.systems.tspm.network:TSPM",
    "avst": "avkit.systems.avst.network:AVST",
    "pstp": "avkit.systems.pstp.network:PSTP",
    "avsegformer": "avkit.systems.avsegformer.network:AVSegFormer",
    "tpavi": "avkit.systems.tpavi.network:TPAVI",
    "ez_vsl": "avkit.systems.ez_vsl.network:EZVSL",
    "lvs": "avkit.systems.lvs.network:LVS",
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
