# SPDX-License-Identifier: Apache-2.0
"""What a task needs of the data."""

from collections.abc import Iterable
from dataclasses import dataclass

from avkit.tasks import find_task
from avkit.tasks.base import Task


@dataclass(frozen=True)
class TaskSpec:
    """What a task needs of the data, see the attributes of the same names in `avkit.tasks.base.Task`.

    Attributes:
        targets: Targets that the dataset must have.
        required_for_training: Targets that every training sample must have.
        evaluation_only: Those of `targets` that only the metrics use; the training split may lack them.
        optional: Targets that are used if the dataset has them.
        stepwise: Whether training may use crops of trimmed clips.
        untrimmed: Whether clips are untrimmed.
        sampling_weight: How often joint training draws the task, relative to the other tasks.
        weakly_supervised: Whether joint training draws the task only after the first half epoch.
        benchmark: Name of the task's usual dataset; None if there is none.
    """

    targets: frozenset[str]
    required_for_training: frozenset[str]
    evaluation_only: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    stepwise: bool = False
    untrimmed: bool = False
    sampling_weight: float = 1.0
    weakly_supervised: bool = False
    benchmark: str | None = None

    @classmethod
    def of(cls, task: type[Task], *, whole_clips: bool = False) -> "TaskSpec":
        """The record of a task.

        Args:
            task: The class of the task.
            whole_clips: Never crop trimmed clips, for systems that read them whole.
        """
        return cls(
            targets=frozenset(task.targets),
            required_for_training=frozenset(task.training_targets()),
            evaluation_only=frozenset(task.evaluation_only),
            optional=frozenset(task.optional),
            stepwise=task.stepwise and not whole_clips,
            untrimmed=task.untrimmed,
            sampling_weight=task.sampling_weight,
            weakly_supervised=task.weakly_supervised,
            benchmark=task.benchmark,
        )

    def targets_of(self, split: str) -> frozenset[str]:
        """Targets that the dataset must have for a split: `train`, `val` or `test`."""
        if split == "train":
            return self.targets - self.evaluation_only
        return self.targets


def task_specs(names: Iterable[str], *, whole_clips: bool = False) -> dict[str, TaskSpec]:
    """The records of tasks by name, see `TaskSpec.of`.

    Raises:
        ValueError: If a task is unknown.
    """
    return {name: TaskSpec.of(find_task(name), whole_clips=whole_clips) for name in names}
