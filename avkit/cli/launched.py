# SPDX-License-Identifier: Apache-2.0
"""How many processes take part in a command: those that torchrun or SLURM has started, or those that it asks for."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from avkit.cli.given_options import given_options
from avkit.cli.rank import process_rank

#: Variables by which commands on several machines find each other where nobody starts them.
_NODE_VARIABLES = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


class Started(NamedTuple):
    """Processes that somebody has started.

    Attributes:
        by: Who.
        devices: Processes on each machine.
        num_nodes: Machines.
    """

    by: str
    devices: int
    num_nodes: int


def set_processes(trainer: Any, args: Sequence[str]) -> None:
    """Have as many processes take part as were started; check those that a command asks for.

    Args:
        trainer: The parsed options, which are changed.
        args: Words of the command.

    Raises:
        ValueError: If other numbers were typed than were started, or processes cannot find each other.
    """
    started = started_processes()
    if started is None:
        _check_devices(trainer)
        return
    typed = {option.name: option.file for option in given_options(args)}
    for name, count in (("devices", started.devices), ("num_nodes", started.num_nodes)):
        given = trainer[name]
        if _number(given) in (count, None):
            trainer[name] = given if isinstance(given, list) else count
            continue
        where = typed.get(f"trainer.{name}")
        what = "processes on each machine" if name == "devices" else "machines"
        if where == "":
            raise ValueError(
                f"trainer.{name} is {given}, and {started.by} has started {count} {what}. Leave it out, give {count}, "
                f"or have {started.by} start as many."
            )
        if where is not None and not process_rank():
            print(f"note: {started.by} has started {count} {what}; trainer.{name} {given} of {where} does not count.")
        trainer[name] = count


def started_processes() -> Started | None:
    """The processes that torchrun or SLURM has started; None where neither has.

    Raises:
        ValueError: If SLURM does not say how many run on each machine.
    """
    if torch.distributed.is_torchelastic_launched():
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        return Started("torchrun", here, int(os.environ["WORLD_SIZE"]) // here)
    if not SLURMEnvironment.detect():
        return None
    tasks = int(os.environ["SLURM_NTASKS"])
    nodes = int(os.environ.get("SLURM_NNODES", "1"))
    if tasks % nodes:
        raise ValueError(
            f"SLURM has started {tasks} tasks on {nodes} machines. Start equally many on each, such as srun "
            f"--ntasks-per-node={max(1, tasks // nodes)}."
        )
    os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(tasks // nodes))  # without which Lightning takes no tasks
    return Started("SLURM", int(os.environ["SLURM_NTASKS_PER_NODE"]), nodes)


def _number(given: object) -> int | None:
    """How many devices or machines are given; None where as many as there are."""
    if isinstance(given, list):
        return len(given)
    text = str(given)
    if text in ("auto", "-1"):
        return None
    if "," in text:
        return len(text.split(","))
    return int(text) if text.isdigit() else 0


def _check_devices(trainer: Any) -> None:
    """Refuse devices that there are not, and machines that cannot find each other."""
    devices = trainer.devices
    if not has_gpu(str(trainer.accelerator)) and devices != "auto" and not (str(devices).isdigit() and int(devices)):
        raise ValueError(
            f"trainer.devices is {devices!r}; without a GPU it is a number of processes, such as 2, or auto, "
            "which is 1."
        )
    missing = [name for name in _NODE_VARIABLES if name not in os.environ]
    if trainer.num_nodes > 1 and missing:
        raise ValueError(
            f"trainer.num_nodes is {trainer.num_nodes}, and {', '.join(missing)} are not in the environment, by which "
            "the machines find each other. Start the command on each machine by torchrun or srun, or set them."
        )


def has_gpu(accelerator: str) -> bool:
    """Whether a run with this accelerator is on a GPU."""
    return accelerator != "cpu" and (torch.cuda.is_available() or torch.backends.mps.is_available())
