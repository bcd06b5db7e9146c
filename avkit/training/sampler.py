# SPDX-License-Identifier: Apache-2.0
"""Which task each training step takes, and which samples: a pure function of seed and step."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: How often each task is drawn: by its own weight, by its number of samples, equally, or between the two, by its number
#: of samples to the power of 1 / temperature.
MIXES = ("sampling_weight", "proportional", "uniform", "temperature")
#: How often each dataset of a task is drawn where the task is, likewise.
DATASET_MIXES = ("proportional", "uniform", "temperature")


def task_weights(
    sizes: Mapping[str, int], mix: str = "proportional", sampling_weights: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Probability of each task in a step.

    Args:
        sizes: Samples per task.
        mix: One of `MIXES`, or weights such as `avs=2,avqa=1`; `temperature=T` gives another temperature than 2.
        sampling_weights: Each task's own weight, for the mix of that name; 1 where not named.

    Raises:
        ValueError: If the mix is neither, names other tasks than `sizes`, or a weight is not positive.
    """
    weights = _unnormalised(sizes, mix, sampling_weights or {})
    total = sum(weights.values())
    return {task: weight / total for task, weight in weights.items()}


def dataset_shares(sizes: Mapping[str, Mapping[str, int]], mix: str = "proportional") -> dict[str, dict[str, float]]:
    """Probability of each dataset in the steps of its task.

    Args:
        sizes: Samples by task and dataset.
        mix: One of `DATASET_MIXES`, or a weight for each dataset that shares its task with others, such as
            `avsbench-s4=2,avsbench-ms3=1`; `temperature=T` gives another temperature than 2.

    Raises:
        ValueError: If the mix is neither, or a weight is not positive.
    """
    weights: dict[str, float] = {}
    mode = mix.partition("=")[0]
    if mode not in DATASET_MIXES:
        mixed = dict.fromkeys(name for of_task in sizes.values() if len(of_task) > 1 for name in of_task)
        if not mixed:
            raise ValueError(
                f"dataset_mix is {mix!r}, and no task has several datasets. Leave it out, or name them joined by +, "
                "such as --data.dataset avs=avsbench-s4+avsbench-ms3."
            )
        weights = _listed_weights(list(mixed), mix, "dataset_mix", DATASET_MIXES)
    shares = {}
    for task, of_task in sizes.items():
        raw = {name: weights.get(name, 1.0) for name in of_task} if weights else _by_size(of_task, mix, "dataset_mix")
        total = sum(raw.values())
        shares[task] = {name: weight / total for name, weight in raw.items()}
    return shares


def _unnormalised(sizes: Mapping[str, int], mix: str, sampling_weights: Mapping[str, float]) -> dict[str, float]:
    if mix == "sampling_weight":
        return {task: sampling_weights.get(task, 1.0) for task in sizes}
    if mix in MIXES or mix.startswith("temperature="):
        return _by_size(sizes, mix, "mix")
    return _listed_weights(list(sizes), mix, "mix", MIXES)


def _by_size(sizes: Mapping[str, int], mix: str, option: str) -> dict[str, float]:
    """Weights that follow the number of samples, all of it, not at all, or to the power of 1 / temperature."""
    power = {"proportional": 1.0, "uniform": 0.0}.get(mix)
    if power is None:
        power = 1 / _temperature(mix, option)
    return {name: float(size) ** power for name, size in sizes.items()}


def _temperature(mix: str, option: str) -> float:
    """The T of `temperature=T`; 2 by default.

    Raises:
        ValueError: If it is not a positive number.
    """
    _, _, text = mix.partition("=")
    try:
        temperature = float(text or 2)
    except ValueError:
        temperature = 0.0
    if not 0 < temperature < float("inf"):
        raise ValueError(
            f"{option} is {mix!r}; a temperature is a positive number: 1 is proportional, large is uniform."
        )
    return temperature


def _listed_weights(names: Sequence[str], mix: str, option: str, modes: Sequence[str]) -> dict[str, float]:
    """The weights of `avs=2,avqa=1`.

    Raises:
        ValueError: If it does not list each name once, with a positive weight.
    """
    example = ",".join(f"{name}=1" for name in names)
    error = ValueError(
        f"{option} is {mix!r}; it takes one of {', '.join(modes)}, or a positive weight for each of "
        f"{', '.join(names)}, such as {example}."
    )
    weights: dict[str, float] = {}
    for part in mix.split(","):
        name, _, text = part.rpartition("=")
        try:
            weights[name.strip()] = float(text)
        except ValueError as e:
            raise error from e
    positive = all(0 < weight < float("inf") for weight in weights.values())
    if mix.count("=") > len(weights) or weights.keys() != set(names) or not positive:
        raise error
    return weights


@dataclass(frozen=True)
class Share:
    """A process's part of each batch of a task.

    Attributes:
        total: Samples of the batch, of all processes.
        first: Place in it of this process's first sample.
        count: Number of this process's samples.
    """

    total: int
    first: int
    count: int

    @classmethod
    def of(cls, size: int, extra: int, rank: int, world_size: int) -> "Share":
        """The part of process `rank`, where each takes `size` samples and the first `extra` processes one more."""
        return cls(size * world_size + extra, size * rank + min(rank, extra), size + (rank < extra))


class BatchPlan:
    """Batches of one task and dataset each, in an order that depends only on seed, sizes and step.

    Every sample of a task is taken once before any is taken again. With several processes all ranks take the same
    task, and each rank its part of the batch that one process would take with the batch sizes of all ranks together.

    Args:
        sizes: Samples per task, or per benchmark where a task has several datasets.
        batch_sizes: Samples per batch and rank of each.
        extra: Of each, the number of ranks that take one sample more, the first ones; 0 where not named.
        weights: Probability of each, see `task_weights` and `dataset_shares`.
        seed: Seed of the order.
        rank: Number of this process.
        world_size: Number of processes.
        delayed: Tasks that are not drawn before step `delay`, unless all tasks are delayed.
        delay: First step of the delayed tasks.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        batch_sizes: Mapping[str, int],
        weights: Mapping[str, float],
        seed: int = 0,
        *,
        rank: int = 0,
        world_size: int = 1,
        delayed: Collection[str] = (),
        delay: int = 0,
        extra: Mapping[str, int] | None = None,
    ) -> None:
        self.names = list(sizes)
        self.sizes = dict(sizes)
        self.shares = {
            name: Share.of(batch_sizes[name], (extra or {}).get(name, 0), rank, world_size) for name in sizes
        }
        self.seed = seed
        self.probabilities = np.array([weights[name] for name in self.names])
        undelayed = np.array([name not in delayed for name in self.names])
        self.delay = delay if undelayed.any() else 0
        self.first_probabilities = self.probabilities * undelayed
        self.first_probabilities /= max(1e-12, self.first_probabilities.sum())
        self._orders: dict[tuple[str, int], np.ndarray] = {}

    def tasks(self, first: int, count: int) -> list[str]:
        """The tasks of `count` steps from step `first`."""
        return [self.names[number] for number in self._draw_tasks(first + count)[first:]]

    def steps(self, first: int, count: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Task, sample numbers, and one random number in [0, 1) per sample, of `count` steps from step `first`."""
        drawn = self._draw_tasks(first + count)
        taken = np.bincount(drawn[:first], minlength=len(self.names))
        for step, number in enumerate(drawn[first:], first):
            task = self.names[number]
            rng = np.random.Generator(np.random.PCG64([self.seed, 2, step]))
            share = self.shares[task]
            draws = rng.random(share.total)[share.first : share.first + share.count]
            yield task, self._samples(task, int(taken[number])), draws
            taken[number] += 1

    def _draw_tasks(self, count: int) -> np.ndarray:
        """Task numbers of the first `count` steps; a larger count only adds steps."""
        draws = np.random.Generator(np.random.PCG64([self.seed, 0])).random(count)
        first = _choose(draws[: self.delay], self.first_probabilities)
        rest = _choose(draws[self.delay :], self.probabilities)
        return np.concatenate([first, rest])

    def _samples(self, task: str, batch: int) -> np.ndarray:
        """Sample numbers of a task's batch on this rank; batches of a task are counted from 0."""
        size = self.sizes[task]
        share = self.shares[task]
        places = batch * share.total + share.first + np.arange(share.count)
        return np.array([self._order(task, int(place) // size)[int(place) % size] for place in places])

    def _order(self, task: str, turn: int) -> np.ndarray:
        """The order of a task's samples in its pass `turn` over them."""
        if (task, turn) not in self._orders:
            for key in list(self._orders):
                if key[0] == task and key[1] < turn - 1:
                    del self._orders[key]
            seed = [self.seed, 1, turn, *task.encode()]
            self._orders[task, turn] = np.random.Generator(np.random.PCG64(seed)).permutation(self.sizes[task])
        return self._orders[task, turn]


def _choose(draws: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Task numbers for random numbers in [0, 1)."""
    return np.searchsorted(np.cumsum(probabilities)[:-1], draws, side="right")
