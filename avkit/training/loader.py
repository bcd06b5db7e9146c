# SPDX-License-Identifier: Apache-2.0
"""Samples of tasks to batches, in an order that survives being killed."""

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from avkit.batch import Batch, Item
from avkit.collate import collate, crop
from avkit.datasets import Dataset
from avkit.errors import DataError
from avkit.features.arrays import Features
from avkit.training.sampler import BatchPlan

#: A sample of a task: the task's name, the sample's number in the dataset, and a draw in [0, 1) that places a crop.
Key = tuple[str, int, float]


@dataclass(frozen=True)
class Reads:
    """What a task takes of a sample.

    Attributes:
        needs: Targets that the dataset must have.
        scored: Those of them that only the scored splits must have.
        each: Those of them that every sample must carry.
        may: Targets used where the dataset has them.
        stepwise: Whether the task answers each step by itself.
        untrimmed: Whether its clips are long.
        need: Training steps that the task needs, relative to the others.
        late: Whether it joins others after half an epoch, where the mix is what tasks need.
    """

    needs: frozenset[str]
    each: frozenset[str]
    scored: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    stepwise: bool = False
    untrimmed: bool = False
    need: float = 1.0
    late: bool = False


class TaskItems(TorchDataset[tuple[str, Item]]):
    """Samples by task and number, each with the targets that the task reads.

    Args:
        datasets: Where each task's samples come from.
        reads: What each task takes.
        crop: Longest clip in steps for tasks that answer step by step; 0 for no limit.
        window: The same for tasks on untrimmed clips.
        shrink: Least share of an untrimmed clip that a training step sees, see `truncate`; None for plain crops.
        expert: What a large vision-language model made of clips, for tasks that write sentences; not of all of them.
    """

    def __init__(
        self,
        datasets: Mapping[str, Dataset],
        reads: dict[str, Reads],
        crop: int = 0,
        window: int = 0,
        expert: Features | None = None,
        shrink: float | None = None,
    ) -> None:
        provided = {task: frozenset(data.provides) for task, data in datasets.items()}
        self.datasets = datasets
        self.longest = {t: window if r.untrimmed else crop if r.stepwise else 0 for t, r in reads.items()}
        self.fields = {task: (read.needs | read.may) & provided[task] for task, read in reads.items()}
        self.expert, self.shrink = expert, shrink
        self.untrimmed = {task for task, read in reads.items() if read.untrimmed}
        self.told = {task for task, read in reads.items() if "caption" in read.needs}
        self.needs_masks = {task for task, read in reads.items() if "mask_known" in read.each}

    def __getitem__(self, key: Key) -> tuple[str, Item]:
        task, index, draw = key
        item = self.datasets[task].item(index, self.fields[task])
        if self.expert is not None and task in self.told:
            item.expert = expert_features(self.expert, self.datasets[task].media(index), item)
        if self.shrink is not None and task in self.untrimmed:
            return task, truncated(item, self.longest[task] or item.steps, self.shrink, random.Random(draw))
        if longest := self.longest[task]:
            starts = self._starts(item, task, longest)
            item = crop(item, starts[int(draw * len(starts))], longest)
        return task, item

    def _starts(self, item: Item, task: str, longest: int) -> Sequence[int]:
        """Where a crop may begin; for a task that needs masks, so that it holds an annotated step if there is one."""
        every = range(max(1, item.steps - longest + 1))
        if task not in self.needs_masks or bool(item.targets["mask_known"].all()):
            return every
        known = item.targets["mask_known"].tolist()
        return [start for start in every if any(known[start : start + longest])] or every


def truncate(
    steps: int,
    segments: Tensor,
    longest: int,
    shrink: float | None,
    draws: random.Random,
    keep: float = 0.5,
    trials: int = 200,
) -> tuple[int, int, Tensor]:
    """A random part of a video in which some event remains.

    A video longer than `longest` is cut to that; others, unless `shrink` is None, to a random length of at least
    `shrink` of their own. Parts are drawn until one keeps enough of an event; the last one stays where none does.

    Args:
        steps: Length of the video.
        segments: Starts and ends of its events in steps, (E, 2).
        longest: Steps of the part at most.
        shrink: Least share of a short video.
        draws: Where random numbers come from.
        keep: Share of an event that has to remain for it to stay.
        trials: Parts that are drawn.

    Returns:
        First step, end, and which events stay, bool (E,).

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/datasets/data_utils.py`.
    """
    every = torch.ones(len(segments), dtype=torch.bool)
    if steps <= longest:
        if shrink is None:
            return 0, steps, every
        longest = draws.randint(max(round(shrink * steps), 1), steps)
        if longest == steps:
            return 0, steps, every
    start, stay = 0, every
    for _ in range(trials):
        start = draws.randint(0, steps - longest)
        inside = segments.clamp(start, start + longest).diff(dim=1)[:, 0]
        stay = inside / segments.diff(dim=1)[:, 0].abs() >= keep
        if stay.any():
            break
    return start, start + longest, stay


def truncated(item: Item, longest: int, shrink: float | None, draws: random.Random) -> Item:
    """A clip's part that `truncate` chooses; events begin and end within it, the rest is as `crop` does it."""
    events = item.targets["events"]
    segments = (events[:, :2] - item.offset) / item.hop - 0.5
    start, stop, stay = truncate(item.steps, segments, longest, shrink, draws)
    if (start, stop) == (0, item.steps):
        return item
    part = crop(item, start, stop - start)
    inside = segments[stay].clamp(start, stop) - start
    times = (inside + 0.5) * item.hop + item.offset
    part.targets["events"] = torch.cat([times, events[stay, 2:]], 1)
    return part


def expert_features(features: Features, name: str, item: Item) -> Tensor | None:
    """A clip's features of a large vision-language model, float (M, E); None where there are none.

    Raises:
        DataError: If they are one per step, and of other steps than the clip's.
    """
    if name not in features.names:
        return None
    found = torch.from_numpy(features.read(name)).float()
    hop = features.facts.hop
    if found.ndim != 2 or (hop and (abs(hop - item.hop) > 1e-6 or len(found) != item.steps)):
        raise DataError(
            f"{features.path}: clip {name!r} has features {tuple(found.shape)}, one row every {hop:g} s; the clip has "
            f"{item.steps} steps of {item.hop:g} s. Extract them for this data, one row per step or one text (hop 0)."
        )
    return found


class PlanLoader(DataLoader[Batch]):
    """A loader that follows a plan and, loaded from a checkpoint, goes on with the very next batch.

    Args:
        items: Samples.
        plan: Which samples each step takes.
        steps: Steps per epoch.
        workers: Worker processes.
    """

    def __init__(
        self, items: TaskItems, plan: BatchPlan, numbers: dict[str, list[int]], steps: int, **kwargs: Any
    ) -> None:
        self.plan, self.numbers, self.steps, self.done = plan, numbers, steps, 0
        super().__init__(items, batch_sampler=_Steps(self), **kwargs)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        for batch in super().__iter__():
            self.done += 1
            yield batch

    def keys(self) -> Iterator[list[Key]]:
        """The samples of each step to the end of the epoch."""
        for task, places, draws in self.plan.steps(self.done, self.steps - self.done % self.steps):
            yield [(task, self.numbers[task][i], float(u)) for i, u in zip(places, draws, strict=True)]

    def state_dict(self) -> dict[str, int]:
        """How many batches were handed out since the run began."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after that many batches."""
        self.done = state["done"]


class _Steps:
    """The loader's steps, as the batch sampler that torch wants to be given before the loader exists."""

    def __init__(self, loader: PlanLoader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[list[Key]]:
        return self.loader.keys()

    def __len__(self) -> int:
        return self.loader.steps


def collate_pairs(pairs: Sequence[tuple[str, Item]]) -> Batch:
    """Items of one task side by side."""
    return collate([item for _, item in pairs], pairs[0][0])


def give_way(worker: int) -> None:
    """A worker uses one thread, and the processor only when the model does not need it.

    Without the second a worker that holds a core keeps every parallel operation of the model waiting for that core.
    """
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(19)
