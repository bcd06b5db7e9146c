# SPDX-License-Identifier: Apache-2.0
"""The tasks, each in its file; a name is resolved when it is asked for."""

from typing import TYPE_CHECKING

from avkit.errors import unknown_name
from avkit.outside import building, import_part

if TYPE_CHECKING:
    from avkit.batch import Vocabulary
    from avkit.tasks.base import Task

__all__ = ["TASKS", "VARIANTS", "build_tasks", "find_task", "list_tasks", "split_names"]

#: Name on the command line, and where the task lives.
TASKS: dict[str, str] = {
    "ra_ssu": "avkit.tasks.ra_ssu:RegionAwareUnderstanding",
    "ave": "avkit.tasks.ave:EventLocalization",
    "ave_weak": "avkit.tasks.ave:WeakEventLocalization",
    "avvp": "avkit.tasks.avvp:VideoParsing",
    "ssl": "avkit.tasks.ssl:SoundLocalization",
    "avs": "avkit.tasks.avs:Segmentation",
    "avqa": "avkit.tasks.avqa:QuestionAnswering",
    "davel": "avkit.tasks.davel:DenseEvents",
}

#: Those that ask what another asks, learnt otherwise; `all` leaves them out.
VARIANTS = ("ave_weak",)


def __dir__() -> list[str]:
    return sorted(__all__)


def split_names(tasks: str | list[str]) -> list[str]:
    """Task names of `a,b,c`, of a list, or of `all`; each is checked, an outside task is `package.module:Class`.

    Raises:
        ValueError: If there is none, one is named twice, or one is unknown.
    """
    names = [n.strip() for n in (tasks.split(",") if isinstance(tasks, str) else tasks) if n.strip()]
    if not names:
        raise ValueError(f"No task is named. Name one or more of {', '.join(TASKS)}, such as --tasks avs,avqa, or all.")
    names = [name for name in TASKS if name not in VARIANTS] if names == ["all"] else names
    for name in names:
        if name not in TASKS and ":" not in name:
            raise unknown_name("task", name, [*TASKS, "all"])
    if len(set(names)) < len(names):
        raise ValueError(f"A task is named twice in {','.join(names)!r}. Name each once.")
    return names


def list_tasks() -> list[str]:
    """Names of the tasks, variants included."""
    return list(TASKS)


def find_task(name: str) -> type["Task"]:
    """The class of a task.

    Raises:
        ValueError: If a task from outside is not where its name says, or is no task.
    """
    from avkit.tasks.base import Task

    return import_part("task", TASKS.get(name, name), Task)


def build_tasks(names: list[str], vocabulary: "Vocabulary") -> dict[str, "Task"]:
    """The tasks by name, each given the vocabulary of its dataset."""
    tasks = {}
    for name in names:
        task = find_task(name)
        with building("task", task):
            tasks[name] = task(vocabulary.of(name))
    return tasks
