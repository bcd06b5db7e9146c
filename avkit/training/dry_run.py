# SPDX-License-Identifier: Apache-2.0
"""What a training will need, from steps with small batches: memory and time grow linearly with the batch."""

import ctypes
import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from avkit.batch import Batch
from avkit.systems.base import System
from avkit.training.schedule import groups

with suppress(ImportError):  # which Windows has not
    import resource

#: Clips of the smaller of two batches that are measured, and share of the whole batch that it has where that is more.
#: The other has twice as many. A batch of fewer than both is measured as it is.
_FEWEST = 2
_SHARE = 16
#: Steps of which the fastest counts.
_TIMED = 3


#: Of `mallopt` of the GNU library: tensors from how many bytes on are given back as soon as they are freed.
_MMAP_THRESHOLD = -3
_GIVEN_BACK_FROM = 1 << 20


def _give_back_at_once() -> None:
    """Let small batches use memory as large ones do, whose tensors go back to the system as soon as they are freed.

    Tensors of less than 32 MB would else stay with the process, in gaps that a line through small batches extends.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # which other libraries of C do not have
            ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _GIVEN_BACK_FROM)


@dataclass(frozen=True)
class StepCost:
    """What a step of a training takes.

    Attributes:
        memory: Bytes at its peak: of a GPU's tensors; on a CPU of the process, with Python and libraries.
        seconds: Of the step, without loading its batch.
    """

    memory: float
    seconds: float


class PeakMemory:
    """The most bytes that were in use since `start`: of a GPU's tensors, or of this process on a CPU.

    Only Linux tells a process its peak since a moment; elsewhere it is that since its start.

    Args:
        device: The device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def start(self) -> None:
        """Forget earlier peaks."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)  # what earlier steps have freed is not to count
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def read(self) -> float:
        """The peak; NaN where the system does not tell."""
        if self.device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self.device))
        if sys.platform == "linux":
            status = Path("/proc/self/status").read_text(encoding="ascii")
            return 1024.0 * int(status.partition("VmHWM:")[2].split()[0])
        if sys.platform == "darwin":
            return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return math.nan


class StepProbe:
    """Takes training steps of a system as a training would, and measures them.

    Args:
        system: The system, on its device; its weights are changed.
        device: The device.
        context: Makes the context of a forward pass, such as one of mixed precision.
        fused: Whether the optimizer updates all weights in one operation, as that of a training does.
    """

    def __init__(
        self,
        system: System,
        device: torch.device,
        context: Callable[[], AbstractContextManager[Any]],
        *,
        fused: bool = True,
    ) -> None:
        self.system = system.to(device).train()
        self.device = device
        self.memory = PeakMemory(device)
        self.context = context
        self.optimizer = torch.optim.AdamW(groups(system.parameters(), 0.01), lr=1e-6, fused=fused)

    def cost(self, make_batch: Callable[[int], Batch], size: int) -> StepCost:
        """What a step with a batch of `size` clips takes, measured or, where it has more than a few, extended.

        Args:
            make_batch: Makes a batch of so many clips.
            size: Clips of the batch.
        """
        least = max(_FEWEST, size // _SHARE)
        if size <= 2 * least:
            return self._measured(make_batch(size))
        if self.device.type == "cpu":
            _give_back_at_once()
        few, more = (self._measured(make_batch(count)) for count in (least, 2 * least))
        factor = (size - least) / least
        return StepCost(
            few.memory + factor * max(0.0, more.memory - few.memory),
            few.seconds + factor * max(0.0, more.seconds - few.seconds),
        )

    def _measured(self, batch: Batch) -> StepCost:
        batch = batch.to(self.device)
        self._step(batch)  # after which the optimizer has its state, and libraries have chosen their algorithms
        memory = self._peak(batch)
        return StepCost(memory, min(self._seconds(batch) for _ in range(_TIMED)))

    def _seconds(self, batch: Batch) -> float:
        self._wait()
        start = time.perf_counter()
        self._step(batch)
        self._wait()
        return time.perf_counter() - start

    def _peak(self, batch: Batch) -> float:
        self.memory.start()
        self._step(batch)
        return self.memory.read()

    def _step(self, batch: Batch) -> None:
        with self.context():
            loss = self.system.loss(self.system(batch), batch)["loss"]
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """Number of parameters, and of those that are trained."""
    every = list(module.parameters())
    return sum(x.numel() for x in every), sum(x.numel() for x in every if x.requires_grad)
