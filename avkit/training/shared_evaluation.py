# SPDX-License-Identifier: Apache-2.0
"""What several processes make of the batches of an evaluation, brought to the first one in the order of the data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import torch.distributed as dist

from avkit.batch import Batch, Prediction
from avkit.training.evaluator import BatchScores
from avkit.training.ranking import RankedSample

Result = TypeVar("Result")

#: Batches of each process after which results are sent.
_AT_ONCE = 8


class PredictionSink(Protocol):
    """Takes predictions of a test."""

    def read(self, prediction: Prediction, batch: Batch) -> list[dict[str, Any]]:
        """What is kept of the predictions of a batch."""

    def write(self, benchmark: str, records: list[dict[str, Any]]) -> None:
        """Keep what was read of a batch; called in the order of the data, in the first process alone."""


@dataclass
class Evaluated:
    """What the evaluation of a batch gives.

    Attributes:
        benchmark: Name of its benchmark.
        scores: Of the model and of all others.
        ranked: Its samples with the scores by which they are ranked.
        records: What is kept of the predictions.
    """

    benchmark: str
    scores: list[BatchScores]
    ranked: list[RankedSample] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)


class ResultsInOrder(Generic[Result]):
    """Hands the first process the result of each batch once, in the order of the data, whoever made it.

    All processes put equally many results, see `SharedLoader`.

    Args:
        take: Takes a result, in the first process.
    """

    def __init__(self, take: Callable[[Result], None]) -> None:
        self.take = take
        self._waiting: list[tuple[int, Result]] = []
        self._next = 0

    def put(self, number: int, result: Result) -> None:
        """Give the result of a batch, which this process has made.

        Args:
            number: Number of the batch among those of all processes.
            result: The result.
        """
        self.hold(number, result)
        if not dist.is_initialized() or len(self._waiting) == _AT_ONCE:
            self.flush()

    def hold(self, number: int, result: Result) -> None:
        """As `put`, but not sent before `flush`, so that processes may give different numbers of results."""
        self._waiting.append((number, result))

    def flush(self) -> None:
        """Hand over what waits; all processes must call it after the last batch."""
        own, self._waiting = self._waiting, []
        for number, result in sorted(_sent(own), key=lambda entry: entry[0]):
            if number == self._next:
                self.take(result)
                self._next += 1


def _sent(own: list[tuple[int, Result]]) -> list[tuple[int, Result]]:
    """The entries of all processes in the first one, none in the others."""
    if not dist.is_initialized():
        return own
    first = dist.get_rank() == 0
    of_all: list[list[tuple[int, Result]]] | None = [own] * dist.get_world_size() if first else None
    dist.gather_object(own, of_all)
    return [entry for entries in of_all or [] for entry in entries]
