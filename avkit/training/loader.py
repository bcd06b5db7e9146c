# SPDX-License-Identifier: Apache-2.0
"""Loaders: samples to batches of one task each, in an order that survives being killed."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader

from avkit.batch import Batch, Item
from avkit.collate import collate
from avkit.training.items import SampleKey, TaskItems
from avkit.training.options import LoaderOptions
from avkit.training.sampler import BatchPlan
from avkit.training.stop_signals import leave_signals_to_parent


class OrderedLoader(DataLoader[Batch]):
    """A loader of given batches, in their order.

    Args:
        items: Samples.
        batches: Samples of each batch; may be iterated several times.
        options: Workers.
        keep_workers: Keep the worker processes between two iterations.
    """

    def __init__(
        self,
        items: TaskItems,
        batches: Iterable[list[SampleKey]],
        options: LoaderOptions,
        *,
        keep_workers: bool = False,
    ) -> None:
        parallel = options.workers > 0
        super().__init__(
            items,  # type: ignore[arg-type]  # torch declares one type for a dataset's samples and a loader's batches
            batch_sampler=batches,
            collate_fn=collate_task_items,
            num_workers=options.workers,
            persistent_workers=parallel and keep_workers,
            prefetch_factor=options.prefetch if parallel else None,
            worker_init_fn=start_worker,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # of its own, so that opening a loader does not draw from the model's
        )


class SharedLoader(OrderedLoader):
    """A loader of one process's share of the batches of an evaluation: every so many, from its number on.

    All processes take equally many; one that has fewer takes the first batch again, whose number says so.

    Args:
        items: Samples.
        batches: Samples of each batch, of all processes.
        options: Workers.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(
        self, items: TaskItems, batches: Sequence[list[SampleKey]], options: LoaderOptions, rank: int, world_size: int
    ) -> None:
        own = range(rank, len(batches), world_size)
        missing = len(range(0, len(batches), world_size)) - len(own)
        #: Numbers among all batches of those that this process takes.
        self.numbers = [*own, *[0] * missing]
        super().__init__(items, [batches[number] for number in self.numbers], options)


class PlanLoader(OrderedLoader):
    """A loader that follows a plan, and continues with the next batch after its state was loaded from a checkpoint.

    Args:
        items: Samples.
        plan: Which samples each step takes.
        indices: Numbers in the dataset of each task's usable samples.
        steps: Steps per epoch.
        options: Workers.
        repeat: Take the batches of the first epoch in every epoch.
    """

    def __init__(
        self,
        items: TaskItems,
        plan: BatchPlan,
        indices: Mapping[str, Sequence[int]],
        steps: int,
        options: LoaderOptions,
        *,
        repeat: bool = False,
    ) -> None:
        self.batches = PlannedBatches(plan, indices, steps, repeat=repeat)
        super().__init__(items, self.batches, options, keep_workers=True)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch declares its own private iterator
        for batch in super().__iter__():
            self.batches.done += 1
            yield batch

    def start_at(self, step: int) -> None:
        """Continue at a step, counted from the start of the run."""
        self.batches.done = step

    def state_dict(self) -> dict[str, int]:
        """The number of batches that were handed out since the start of the run, as `done`."""
        return {"done": self.batches.done}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue after the batches that were handed out before."""
        self.batches.done = state["done"]


@dataclass(eq=False)
class PlannedBatches:
    """The samples of each step, from the next step to the end of its epoch.

    Attributes:
        plan: Which samples each step takes.
        indices: Numbers in the dataset of each task's usable samples.
        steps: Steps per epoch.
        done: Steps since the start of the run.
        repeat: Take the batches of the first epoch in every epoch.
    """

    plan: BatchPlan
    indices: Mapping[str, Sequence[int]]
    steps: int
    done: int = 0
    repeat: bool = False

    def __iter__(self) -> Iterator[list[SampleKey]]:
        rest = self.steps - self.done % self.steps
        first = self.steps - rest if self.repeat else self.done
        for task, places, draws in self.plan.steps(first, rest):
            indices = self.indices[task]
            yield [SampleKey(task, indices[place], float(draw)) for place, draw in zip(places, draws, strict=True)]

    def __len__(self) -> int:
        return self.steps


def collate_task_items(task_items: Sequence[tuple[str, Item]]) -> Batch:
    """The batch of items of one task and dataset, which the name of their benchmark tells."""
    task, _, dataset = task_items[0][0].partition("/")
    return collate([item for _, item in task_items], task, dataset).with_rows()


def start_worker(worker: int) -> None:
    """Let a worker process use one thread, and a core only while the model does not need it.

    At normal priority, a worker that holds a core delays every parallel operation of the model.
    """
    leave_signals_to_parent()
    torch.set_num_threads(1)
    if hasattr(os, "nice"):  # not on Windows
        os.nice(19)
