# SPDX-License-Identifier: Apache-2.0
"""Which task each training step takes, and which samples: a pure function of seed and step."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np

#: How often each task is drawn: as much as it says it needs, by its number of samples, equally, or between the two, by
#: the samples to the power of 1 / temperature.
MIXES = ("need", "proportional", "uniform", "temperature")


def task_weights(
    sizes: Mapping[str, int], mix: str = "proportional", need: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Probability of each task in a step.

    Args:
        sizes: Samples per task.
        mix: One of `MIXES`, or weights such as `avs=2,avqa=1`; `temperature=T` gives another than 2.
        need: Steps that a task needs, relative to the others, for the mix of that name; 1 where not named.

    Raises:
        ValueError: If the mix is neither, names other tasks than `sizes`, or a weight is not positive.
    """
    if mix == "need":
        raw = {task: (need or {}).get(task, 1.0) for task in sizes}
    elif mix in MIXES or mix.startswith("temperature="):
        power = {"proportional": 1.0, "uniform": 0.0}.get(mix, 1 / _temperature(mix))
        raw = {task: float(size) ** power for task, size in sizes.items()}
    else:
        raw = _given(sizes, mix)
    total = sum(raw.values())
    return {task: weight / total for task, weight in raw.items()}


def _temperature(mix: str) -> float:
    """Of `temperature=T`; 2 where none is given.

    Raises:
        ValueError: If it is no positive number.
    """
    _, _, given = mix.partition("=")
    try:
        found = float(given or 2)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise ValueError(f"mix is {mix!r}; a temperature is a positive number: 1 is proportional, large is uniform.")
    return found


def _given(sizes: Mapping[str, int], mix: str) -> dict[str, float]:
    wanted = f"one of {', '.join(MIXES)}, or a positive weight for each of {', '.join(sizes)}, such as " + ",".join(
        f"{task}=1" for task in sizes
    )
    try:
        raw = {k.strip(): float(v) for k, _, v in (part.partition("=") for part in mix.split(","))}
    except ValueError as e:
        raise ValueError(f"mix is {mix!r}; it takes {wanted}.") from e
    named = mix.count("=")
    if named > len(raw) or raw.keys() != sizes.keys() or not all(0 < w < float("inf") for w in raw.values()):
        raise ValueError(f"mix is {mix!r}; it takes {wanted}.")
    return raw


class BatchPlan:
    """Batches of one task each, in an order that depends on nothing but seed, sizes and step.

    Every sample of a task is taken once before any is taken again. With several processes all ranks take the same
    task, and each its own part of what one process would take with a batch as large as all of theirs.

    Args:
        sizes: Samples per task.
        batch: Samples per batch and rank of each task.
        weights: Probability of each task, see `task_weights`.
        seed: Of the order.
        rank: This process.
        ranks: Number of processes.
        late: Tasks that are not drawn before step `start`, unless there are no others.
        start: Their first step.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        batch: Mapping[str, int],
        weights: Mapping[str, float],
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        late: Collection[str] = (),
        start: int = 0,
    ) -> None:
        self.names = list(sizes)
        self.sizes, self.batch, self.seed = dict(sizes), dict(batch), seed
        self.rank, self.ranks = rank, ranks
        self.probabilities = np.array([weights[name] for name in self.names])
        first = np.array([name not in late for name in self.names])
        self.start = start if first.any() else 0
        self.first = self.probabilities * first / max(1e-12, (self.probabilities * first).sum())
        self._orders: dict[tuple[str, int], np.ndarray] = {}

    def tasks(self, first: int, count: int) -> list[str]:
        """The tasks of `count` steps from step `first`."""
        return [self.names[i] for i in self._draw(first + count)[first:]]

    def steps(self, first: int, count: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Task, sample numbers, and one draw in [0, 1) per sample, of `count` steps from step `first`."""
        drawn = self._draw(first + count)
        taken = np.bincount(drawn[:first], minlength=len(self.names))
        for step, task in enumerate(drawn[first:], first):
            name = self.names[task]
            every = np.random.Generator(np.random.PCG64([self.seed, 2, step])).random((self.ranks, self.batch[name]))
            yield name, self._samples(name, int(taken[task])), every[self.rank]
            taken[task] += 1

    def _draw(self, count: int) -> np.ndarray:
        """Task numbers of the first `count` steps; the same for every `count` that reaches as far."""
        u = np.random.Generator(np.random.PCG64([self.seed, 0])).random(count)
        parts = ((u[: self.start], self.first), (u[self.start :], self.probabilities))
        return np.concatenate([np.searchsorted(np.cumsum(p)[:-1], draws, side="right") for draws, p in parts])

    def _samples(self, task: str, number: int) -> np.ndarray:
        """Samples of the task's batch `number` on this rank."""
        size, count = self.sizes[task], self.batch[task]
        places = (number * self.ranks + self.rank) * count + np.arange(count)
        return np.array([self._order(task, int(p) // size)[int(p) % size] for p in places])

    def _order(self, task: str, turn: int) -> np.ndarray:
        """The task's samples in the order of its `turn`-th round."""
        key = (task, turn)
        if key not in self._orders:
            self._orders = {k: v for k, v in self._orders.items() if k[0] != task or k[1] >= turn - 1}
            name = [self.seed, 1, turn, *task.encode()]
            self._orders[key] = np.random.Generator(np.random.PCG64(name)).permutation(self.sizes[task])
        return self._orders[key]
