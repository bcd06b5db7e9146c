# SPDX-License-Identifier: Apache-2.0
"""Fully sharded data parallelism, FSDP2: each device keeps a part of the weights, gradients and optimizer's state."""

import warnings
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch.distributed.device_mesh import DeviceMesh

from avkit.systems.base import System

#: Value of `--trainer.strategy`.
FSDP2 = "fsdp2"


class FullyShardedStrategy(ModelParallelStrategy):
    """Lightning's strategy of PyTorch's FSDP2, with all processes in one group; checkpoints are whole files.

    Args:
        **options: Others of `ModelParallelStrategy`.
    """

    strategy_name = FSDP2

    def __init__(self, **options: Any) -> None:
        super().__init__(data_parallel_size=1, tensor_parallel_size=1, save_distributed_checkpoint=False, **options)

    def setup_environment(self) -> None:
        """Make one group of all processes; before there is a model, only let them find each other."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        if self._lightning_module is None:
            self._setup_distributed()
        else:
            super().setup_environment()


def register_fsdp2() -> None:
    """Let Lightning find the strategy by its name."""
    if FSDP2 not in StrategyRegistry:
        StrategyRegistry.register(FSDP2, FullyShardedStrategy, description="PyTorch's FSDP2")


def shard_system(system: System, mesh: DeviceMesh) -> None:
    """Spread a system's weights over the processes of a mesh.

    Encoders, the largest parts, are gathered one after the other while each runs; the rest is gathered for a step.

    Args:
        system: The system, with the same weights in all processes.
        mesh: Of one dimension.

    Raises:
        ValueError: If a weight has no dimension.
    """
    from torch.distributed.fsdp import fully_shard

    scalars = [name for name, parameter in system.named_parameters() if not parameter.ndim]
    if scalars:
        raise ValueError(
            f"trainer.strategy fsdp2 spreads weights along their first dimension, and {', '.join(scalars)} of system "
            f"{system.config.name} has none. Use --trainer.strategy auto."
        )
    warnings.filterwarnings("ignore", message=".*returned a view tensor")  # nothing is changed in place
    for encoder in system.encoders():
        if any(True for _ in encoder.parameters()):
            fully_shard(encoder, mesh=mesh)
    fully_shard(system, mesh=mesh, reshard_after_forward=False)  # the loss reads weights after it
