# SPDX-License-Identifier: Apache-2.0
"""The losses of a training step, compiled as one graph where that is asked for."""

from collections.abc import Callable
from typing import Any

import torch

from avkit.batch import Batch, Losses
from avkit.systems.base import System

#: Graphs of one training that torch keeps: each task has one, each with and without cross-modal attention, and each for
#: sizes of batches that it does not take together.
GRAPHS = 64


class StepLosses:
    """Losses of batches.

    A graph would hold words as constants and be made anew for each question, so the system reads them before one.

    Args:
        system: The system that is trained.
        compiled: Compile all that follows the words by `torch.compile`.
    """

    def __init__(self, system: System, *, compiled: bool) -> None:
        self.system = system
        self.compiled = compiled
        self._run: Callable[[Batch, Any], Losses] | None = None

    def __call__(self, batch: Batch) -> Losses:
        """The losses of a batch by name; `loss` is the one to minimise."""
        if not self.compiled:  # the system reads the words in its forward pass, where FSDP2 has gathered its weights
            return self.after_texts(batch, None)
        if self._run is None:
            self._run = compile_step(self.after_texts)
        return self._run(batch, self.system.read_texts(batch))

    def after_texts(self, batch: Batch, texts: Any) -> Losses:
        """Losses of a batch; `texts` are what `System.read_texts` gave, None where `forward` reads words itself."""
        output = self.system(batch) if texts is None else self.system(batch, texts=texts)
        return self.system.loss(output, batch)


def compile_step(step: Callable[[Batch, Any], Losses], **options: Any) -> Callable[[Batch, Any], Losses]:
    """A compiled step.

    Args:
        step: Losses of a batch and its texts.
        options: Of `torch.compile`.
    """
    settings: Any = torch._dynamo.config
    settings.allow_rnn = True  # the GRUs of avkit are read as plain operations, see `read_padded`
    settings.cache_size_limit = max(settings.cache_size_limit, GRAPHS)
    compiled: Callable[[Batch, Any], Losses] = torch.compile(step, **options)
    return compiled
