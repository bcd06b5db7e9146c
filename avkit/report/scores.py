# SPDX-License-Identifier: Apache-2.0
"""The scores of tested runs, how they were tested, and whether they may be compared."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from avkit.batch import benchmark_name, task_of
from avkit.errors import RunError

Value = TypeVar("Value")
#: A task and one of its metrics.
Key = tuple[str, str]
Draws = NDArray[np.float32]


@dataclass
class Scores:
    """The scores of one run.

    Attributes:
        name: Of the run.
        tasks: Names of its benchmarks: the tasks that it was trained for, or `task/dataset` for each dataset of a task
            that has several. All that is said by task below is said by these.
        dataset: That it was tested on.
        seed: Of the run.
        steps: Training steps of each task.
        values: Score by task and metric; those that were not run are left out.
        units: `fraction` or `number`, by task and metric.
        counts: How many answers a score counts, and what they are.
        intervals: Ends of the 95 % interval of a score.
        draws: A score in each draw of a bootstrap over clips, (R,). Draw r takes the same clips in all runs that were
            tested on the same ones.
        tests: How each task was tested: texts by what they tell, such as `samples`; empty where that is not known.
        options: The options that decide what a run learns, without its seed; None where they are not known.
        datasets: Dataset of each task; those without a score are left out.
    """

    name: str
    tasks: list[str]
    dataset: str
    seed: int
    steps: dict[str, int]
    values: dict[Key, float]
    units: dict[Key, str] = field(default_factory=dict)
    counts: dict[Key, tuple[int, str]] = field(default_factory=dict)
    intervals: dict[Key, tuple[float, float]] = field(default_factory=dict)
    draws: dict[Key, Draws] = field(default_factory=dict)
    tests: dict[str, dict[str, str]] = field(default_factory=dict)
    options: dict[str, Any] | None = None
    datasets: dict[str, str] = field(default_factory=dict)

    def clips(self, task: str) -> int:
        """How many clips a draw takes; 0 where that is not known."""
        number = self.tests.get(task, {}).get("clips", "").partition(" ")[0]
        return int(number) if number.isdecimal() else 0


def name_alike(runs: Sequence[Scores]) -> list[Scores]:
    """Runs that name a benchmark `task/dataset` where any of them does, so that a task on one dataset is compared.

    A run of `avs` on `avsbench-s4` alone then meets a run of `avs` on several datasets in `avs/avsbench-s4`.
    """
    of_several = {task_of(name) for run in runs for name in run.tasks if task_of(name) != name}
    return [_with_datasets(run, of_several) for run in runs]


def _with_datasets(run: Scores, tasks: Collection[str]) -> Scores:
    """A run whose benchmarks of some tasks have the names of their datasets too."""
    names = {task: benchmark_name(task, run.datasets.get(task, "")) for task in run.tasks if task in tasks}
    if not names:
        return run

    def renamed(by_task: Mapping[str, Value]) -> dict[str, Value]:
        return {names.get(task, task): value for task, value in by_task.items()}

    def rekeyed(by_key: Mapping[Key, Value]) -> dict[Key, Value]:
        return {(names.get(task, task), metric): value for (task, metric), value in by_key.items()}

    return replace(
        run,
        tasks=[names.get(task, task) for task in run.tasks],
        steps=renamed(run.steps),
        values=rekeyed(run.values),
        units=rekeyed(run.units),
        counts=rekeyed(run.counts),
        intervals=rekeyed(run.intervals),
        draws=rekeyed(run.draws),
        tests=renamed(run.tests),
        datasets=renamed(run.datasets),
    )


def differing_tests(task: str, first: Scores, second: Scores) -> list[str]:
    """In what the tests of a task differ in two runs, as far as both tell."""
    ours = first.tests.get(task, {})
    theirs = second.tests.get(task, {})
    differences = []
    for name, value in ours.items():
        other = theirs.get(name, "")
        if value and other and value != other:
            text = "the clips" if name == "clips" else f"{name} {value} and {other}"
            differences.append(text)
    return differences


def check_same_tests(runs: Sequence[Scores], advice: str) -> None:
    """Refuse runs whose tests differ.

    Args:
        runs: Any.
        advice: What to do about it.

    Raises:
        RunError: If two runs were tested on other data, or a task that both have was tested in another way.
    """
    first = runs[0]
    for run in runs[1:]:
        for task in first.tasks:
            if task in run.tasks and (differences := _how_tests_differ(task, first, run)):
                raise RunError(
                    f"{first.name} and {run.name} were not tested alike on {task}: {'; '.join(differences)}. Scores of "
                    f"different tests do not compare. {advice}"
                )


def _how_tests_differ(task: str, first: Scores, second: Scores) -> list[str]:
    """As `differing_tests`; of runs that do not tell how they were tested, whether their datasets differ."""
    if first.tests.get(task) and second.tests.get(task):
        return differing_tests(task, first, second)
    return [] if first.dataset == second.dataset else [f"data {first.dataset} and {second.dataset}"]


def option_differences(first: Mapping[str, Any], second: Mapping[str, Any], place: str = "") -> list[str]:
    """Options in which two runs differ, as `name: value, not value`."""
    differences = []
    for name in sorted({*first, *second}):
        ours = first.get(name)
        theirs = second.get(name)
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            differences += option_differences(ours, theirs, f"{place}{name}.")
        elif ours != theirs:
            differences.append(f"{place}{name}: {theirs}, not {ours}")
    return differences
