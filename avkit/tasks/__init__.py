# SPDX-License-Identifier: Apache-2.0
"""The tasks, each in its file; a name is resolved when it is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

from avkit.errors import unknown_name

if TYPE_CHECKING:
    from avkit.batch import Vocabulary
    from avkit.tasks.base import Task

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
        ValueError: If a task from outside is not where its name says.
    """
    module, _, attribute = TASKS.get(name, name).partition(":")
    try:
        found: type[Task] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as e:
        raise ValueError(
            f"Cannot load task {name!r}: {e}. A task from outside is named package.module:Class, and its package must "
            "be installed or in the folder that avkit is started from."
        ) from e
    return found


def build_tasks(names: list[str], vocabulary: "Vocabulary") -> dict[str, "Task"]:
    """The tasks by name, each given the vocabulary of its dataset."""
    return {name: find_task(name)(vocabulary.of(name)) for name in names}
