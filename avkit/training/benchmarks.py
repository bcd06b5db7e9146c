# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of a run: each task on each of its datasets, which are trained together and scored apart."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from avkit.batch import Vocabulary, benchmark_name, join_vocabularies, task_of

if TYPE_CHECKING:
    from avkit.systems.base import SystemConfig
    from avkit.tasks.base import Task


@dataclass(frozen=True)
class Benchmark:
    """A task on one dataset.

    Attributes:
        task: Name of the task.
        dataset: Name of the dataset.
        several: Whether the task has further datasets.
    """

    task: str
    dataset: str
    several: bool = False

    @property
    def name(self) -> str:
        """Name under which it is scored, see `avkit.batch.benchmark_name`."""
        return benchmark_name(self.task, self.dataset if self.several else "")


def list_benchmarks(dataset_names: Mapping[str, str]) -> dict[str, Benchmark]:
    """Benchmarks by name, of the names of each task's datasets joined by `+`."""
    benchmarks = {}
    for task, names in dataset_names.items():
        datasets = names.split("+")
        for dataset in datasets:
            benchmark = Benchmark(task, dataset, several=len(datasets) > 1)
            benchmarks[benchmark.name] = benchmark
    return benchmarks


def shared_vocabulary(task: str, vocabularies: Mapping[str, Vocabulary]) -> Vocabulary:
    """The vocabulary of a task with several datasets: the classes and answers that they name, and all words.

    Args:
        task: Name of the task.
        vocabularies: By dataset; one without classes or without answers takes those of the others.

    Raises:
        ValueError: If two datasets name different classes or different answers, or the same in another order.
    """
    _check_same(task, "classes", {name: vocabulary.classes for name, vocabulary in vocabularies.items()})
    _check_same(task, "answers", {name: vocabulary.answers for name, vocabulary in vocabularies.items()})
    joined = join_vocabularies(vocabularies)
    return Vocabulary(joined.classes, joined.answers, joined.words)


def _check_same(task: str, kind: str, by_dataset: Mapping[str, Sequence[str]]) -> None:
    named = {dataset: list(names) for dataset, names in by_dataset.items() if names}
    if not named:
        return
    first = next(iter(named))
    for dataset, names in named.items():
        if names != named[first]:
            differing = sorted({*names} ^ {*named[first]})[:3]
            difference = f"such as {', '.join(map(repr, differing))}" if differing else "the same in another order"
            raise ValueError(
                f"The datasets of task {task!r} have different {kind}: {first} {len(named[first])} and {dataset} "
                f"{len(names)}, {difference}. One head answers with one list. Train them in runs of their own, or "
                f"bring both to the same {kind} as manifests."
            )


def check_same_widths(task: str, widths: Mapping[str, Sequence[int]]) -> list[int]:
    """Widths of stored visual and audio features that all datasets of a task have.

    Args:
        task: Name of the task.
        widths: By dataset, 0 where it gives pictures or sound.

    Raises:
        ValueError: If they differ.
    """
    first, *others = widths.items()
    for dataset, own in others:
        if list(own) != list(first[1]):
            option = "visual" if own[0] != first[1][0] else "audio"
            raise ValueError(
                f"The datasets of task {task!r} give different features (widths of visual and audio, 0 for pictures "
                f"and sound): {first[0]} {first[1][0]} and {first[1][1]}, {dataset} {own[0]} and {own[1]}. One task "
                f"reads one kind: name the same for all, as in --data.features.{option} "
                f"{first[0]}=STORE,{dataset}=STORE."
            )
    return list(first[1])


def make_benchmarks(
    config: "SystemConfig", tasks: Mapping[str, "Task"], vocabularies: Mapping[str, Vocabulary]
) -> dict[str, "Task"]:
    """Tasks by the benchmarks that score them.

    Args:
        config: Options of the system.
        tasks: Tasks of the run by name.
        vocabularies: By benchmark, of the datasets of the tasks that have several.
    """
    benchmarks: dict[str, Task] = {}
    for name, task in tasks.items():
        own = {benchmark: words for benchmark, words in vocabularies.items() if task_of(benchmark) == name}
        for benchmark, vocabulary in own.items():
            extended = config.extend_vocabulary(vocabulary)
            benchmarks[benchmark] = config.make_tasks([name], extended)[name]
        if not own:
            benchmarks[name] = task
    return benchmarks


def mean_over_tasks(scores: Mapping[str, float]) -> float:
    """Mean of the benchmarks' scores, in which a task counts once: by the mean over its datasets.

    Args:
        scores: Score of each benchmark; what is not finite is left out.

    Returns:
        The mean; NaN where nothing has a finite score.
    """
    by_task: dict[str, list[float]] = {}
    for name, score in scores.items():
        if math.isfinite(score):
            by_task.setdefault(task_of(name), []).append(score)
    means = [sum(of_task) / len(of_task) for of_task in by_task.values()]
    return sum(means) / len(means) if means else math.nan
