# SPDX-License-Identifier: Apache-2.0
"""Systems, one folder per paper; files beside the folders hold what several papers share."""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from avkit.errors import unknown_name
from avkit.outside import import_part

if TYPE_CHECKING:
    from avkit.systems.base import RunContext, System, SystemConfig
    from avkit.systems.checkpoints import OfficialNetwork

__all__ = [
    "DEFAULT",
    "NETWORKS",
    "SYSTEMS",
    "create_system",
    "find_config",
    "find_network",
    "list_systems",
    "make_config",
]

#: The system of a run that names none.
DEFAULT = "av_unified"
#: Configs of systems by the name that `--model.system.name` takes.
SYSTEMS: dict[str, str] = {
    "av_unified": "avkit.systems.av_unified.system:AVUnifiedConfig",
    "ssuformer": "avkit.systems.ssuformer.config:SSUFormerConfig",
    "ccnet": "avkit.systems.ccnet.system:CCNetConfig",
    "unav": "avkit.systems.unav.system:UnAVConfig",
    "uniav": "avkit.systems.uniav.system:UniAVConfig",
    "actionformer": "avkit.systems.actionformer.system:ActionFormerConfig",
    "tadtr": "avkit.systems.tadtr.system:TadTRConfig",
    "han": "avkit.systems.han.system:HANConfig",
    "mm_pyramid": "avkit.systems.mm_pyramid.system:MMPyramidConfig",
    "avel": "avkit.systems.avel.system:AVELConfig",
    "psp": "avkit.systems.psp.system:PSPConfig",
    "tspm": "avkit.systems.tspm.system:TSPMConfig",
    "avst": "avkit.systems.avst.system:AVSTConfig",
    "pstp": "avkit.systems.pstp.system:PSTPConfig",
    "avsegformer": "avkit.systems.avsegformer.system:AVSegFormerConfig",
    "tpavi": "avkit.systems.tpavi.system:TPAVIConfig",
    "ez_vsl": "avkit.systems.ez_vsl.system:EZVSLConfig",
    "lvs": "avkit.systems.lvs.system:LVSConfig",
    "zero_shot": "avkit.systems.zero_shot.config:ZeroShotConfig",
}
#: Networks that take official checkpoints, by the name that `avkit convert` takes.
NETWORKS: dict[str, str] = {
    "ccnet": "avkit.systems.ccnet.network:CCNet",
    "unav": "avkit.systems.unav.network:UnAV",
    "uniav": "avkit.systems.uniav.network:UniAV",
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


def __dir__() -> list[str]:
    return sorted(__all__)


def list_systems() -> list[str]:
    """Names of the systems, the default first."""
    return list(SYSTEMS)


def find_network(name: str) -> "type[OfficialNetwork]":
    """The class of a network with official checkpoints.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in NETWORKS:
        raise unknown_name("system", name, NETWORKS)
    from avkit.systems.checkpoints import OfficialNetwork

    return import_part("system", NETWORKS[name], OfficialNetwork)


def find_config(name: str) -> "type[SystemConfig]":
    """The class of a system's options.

    Args:
        name: A name in `SYSTEMS`, or `package.module:Class` of a config from outside.

    Raises:
        ValueError: If the system is unknown, or it is no config.
    """
    from avkit.systems.base import SystemConfig

    if name not in SYSTEMS and ":" not in name:
        raise unknown_name("system", name, SYSTEMS)
    return import_part("system", SYSTEMS.get(name, name), SystemConfig)


def make_config(options: Mapping[str, Any] | None) -> "SystemConfig":
    """The config of a run's file, the default system's where there is none.

    Raises:
        ValueError: If the system or an option is unknown.
    """
    given = dict(options or {})
    name = given.pop("name", DEFAULT)
    cls = find_config(name)
    if ":" in name:
        given["name"] = name
    names = [field.name for field in fields(cls)]
    for option in given:
        if option not in names:
            raise unknown_name(f"option of system {name}", option, names)
    return cls(**given)


def create_system(name: str, context: "RunContext", **options: Any) -> "System":
    """A new system.

    Args:
        name: A name in `SYSTEMS`, or `package.module:Class` of a config from outside.
        context: The tasks that it answers, and what the data hold.
        options: Fields of its config.

    Raises:
        ValueError: If the system or an option is unknown.
    """
    return make_config({**options, "name": name}).build(context)
