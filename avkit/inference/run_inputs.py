# SPDX-License-Identifier: Apache-2.0
"""What makes the stored features of a run's tasks, by task; tasks that are not in it read pictures and sound."""

from collections.abc import Callable, Sequence

from avkit.inference.stored_inputs import StoredInputs
from avkit.inference.stream_choice import FeaturePlan


class RunInputs:
    """What makes the stored features of each task that reads some; a task's recipe is chosen when it is first asked."""

    def __init__(self) -> None:
        self._plans: dict[str, Callable[[], FeaturePlan]] = {}
        self._make: dict[str, Callable[[FeaturePlan], StoredInputs]] = {}
        self._by_plan: dict[FeaturePlan, StoredInputs] = {}
        self._by_task: dict[str, StoredInputs] = {}

    def add(self, task: str, plan: Callable[[], FeaturePlan], make: Callable[[FeaturePlan], StoredInputs]) -> None:
        """Add a task that reads stored features.

        Args:
            task: Its name.
            plan: Chooses its streams.
            make: What makes features of a plan; called once for tasks with equal plans.
        """
        self._plans[task] = plan
        self._make[task] = make

    def __contains__(self, task: object) -> bool:
        return task in self._plans

    def __len__(self) -> int:
        return len(self._plans)

    def __getitem__(self, task: str) -> StoredInputs:
        """What makes the features of a task.

        Raises:
            DataError: If no recipe makes them.
        """
        if task not in self._by_task:
            plan = self._plans[task]()
            if plan not in self._by_plan:
                self._by_plan[plan] = self._make[task](plan)
            self._by_task[task] = self._by_plan[plan]
        return self._by_task[task]

    def _find(self, task: str) -> StoredInputs | None:
        """What makes the features of a task, if it reads some."""
        if task not in self._plans:
            return None
        return self[task]

    def of(self, tasks: Sequence[str], hop: float | None) -> StoredInputs | None:
        """What makes the features of some tasks; None where they read pictures and sound.

        Args:
            tasks: Names.
            hop: Seconds per step that a user asks for.

        Raises:
            ValueError: If the tasks read different inputs, whose steps differ, or features have a hop of their own.
        """
        groups: dict[StoredInputs | None, list[str]] = {}
        for task in tasks:
            groups.setdefault(self._find(task), []).append(task)
        if len(groups) > 1:
            listed = "; ".join(",".join(group) for group in groups.values())
            raise ValueError(
                "Tasks of this run read different inputs, so they cannot share one result. Predict them one after the "
                f"other, with --tasks: {listed}."
            )
        stored = next(iter(groups), None)
        if stored is not None and hop is not None:
            raise ValueError(f"--hop is {hop:g}; this run reads stored features, which have their own. Leave it out.")
        return stored

    def warning(self, tasks: Sequence[str]) -> str:
        """What a reader must know of encoders with random weights; empty if there are none."""
        names = self._random(tasks)
        if not names:
            return ""
        listed = ", ".join(names)
        return f"The encoders of {listed} have random weights (--weights none). What is answered means nothing."

    def short_warning(self, tasks: Sequence[str]) -> str:
        """The warning in a few words."""
        return "random weights" if self._random(tasks) else ""

    def crop(self, tasks: Sequence[str]) -> float:
        """What tasks see of pictures, see `FeaturePlan.crop`; 0 where they read pictures and no features."""
        crops = [self[task].plan.crop for task in tasks if task in self]
        return min((crop for crop in crops if crop), default=0.0)

    def _random(self, tasks: Sequence[str]) -> list[str]:
        """Names of the tasks' streams whose encoders have random weights."""
        names: dict[str, None] = {}
        for task in tasks:
            if task in self:
                names |= dict.fromkeys(self[task].plan.random)
        return list(names)
