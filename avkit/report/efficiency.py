# SPDX-License-Identifier: Apache-2.0
"""Cost of an answer: parameters, operations, time and frames per second, measured the same way for every model."""

import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from avkit.batch import Batch

#: Answers that are timed.
REPEATS = 5
#: How `measure` measures; stands beside the figures.
METHOD = (
    "One sample is one clip of the stated steps, a picture each, decoded before, batch size 1, in the model's own "
    "precision on the stated device. Parameters: all that answering this task takes, frozen ones too, but what made "
    "stored features. FLOPs: two per multiply-add, of all matrix products, convolutions and attentions of one answer. "
    "Time: median of five answers after a first that is not counted, with pictures and sound encoded, masks, captions "
    "and lists written. FPS: steps over time. RA-SSU's Table VI does not say how it measured; its 84.83 FPS and "
    "0.117 s agree on samples of ten pictures."
)


@dataclass
class Efficiency:
    """The cost of one task's answers, a row of RA-SSU's Table VI.

    Attributes:
        task: Name of the task.
        params: Number of parameters that answering takes.
        flops: Operations of one answer.
        seconds: Time of one answer.
        steps: Steps T of the clip.
        device: Name of the device.
    """

    task: str
    params: int
    flops: int
    seconds: float
    steps: int
    device: str

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.steps / self.seconds

    def cells(self) -> dict[str, str]:
        """The figures as text, by heading."""
        return {
            "Params": _scaled(self.params),
            "FPS": f"{self.fps:.2f}" if self.fps < 1000 else f"{self.fps:.0f}",
            "FLOPs": _scaled(self.flops),
            "Time per sample": f"{self.seconds:.3f} s",
            "Sample": f"{self.steps} steps",
            "Device": self.device,
        }


def measure(
    model: nn.Module, batch: Batch, device: str, params: int | None = None, repeats: int | None = None
) -> Efficiency:
    """Measure parameters, operations and time of the answer to one batch.

    Args:
        model: Called with the batch, in evaluation mode.
        batch: One clip, on the model's device.
        device: Its name.
        params: Number of parameters that answering takes; of the whole model where None.
        repeats: Timed answers; `REPEATS` where None.

    Raises:
        ValueError: If the batch has more than one clip.
    """
    if len(batch.valid) != 1:
        raise ValueError(f"The batch has {len(batch.valid)} clips; efficiency is that of one.")
    with torch.no_grad():  # the counter's hooks need ordinary tensors, so the first answer is not in inference mode
        with FlopCounterMode(display=False) as counter:
            model(batch)
        times = []
        for _ in range(REPEATS if repeats is None else repeats):
            _wait()
            start = time.perf_counter()
            model(batch)
            _wait()
            times.append(time.perf_counter() - start)
    count = sum(p.numel() for p in model.parameters()) if params is None else params
    steps = int(batch.valid.sum())
    return Efficiency(batch.task, count, counter.get_total_flops(), statistics.median(times), steps, device)


def _wait() -> None:
    """Wait until the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _scaled(count: float) -> str:
    """A large number with a letter for thousands, millions and so on, as the paper writes it."""
    for scale, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= scale:
            return f"{count / scale:.2f} {letter}"
    return str(int(count))
