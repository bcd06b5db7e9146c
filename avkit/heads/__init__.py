# SPDX-License-Identifier: Apache-2.0
"""Heads on the shared backbone, by task and name; each turns tokens into one kind of answer.

Importing a head needs torch and einops alone; `from avkit.heads import MaskHead` imports that head and no other.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from avkit.errors import unknown_name
from avkit.outside import building, import_part

if TYPE_CHECKING:
    from avkit.heads.base import Head, HeadInputs

#: Heads by task and by the name that `--model.heads.TASK` takes; the first is the default.
HEADS: dict[str, dict[str, str]] = {
    "ra_ssu": {
        "regions": "avkit.heads.regions:RegionHead",
        "ssuformer": "avkit.systems.ssuformer.head:SSUFormerHead",
    },
    "ave": {"events": "avkit.heads.segment:EventHead"},
    "ave_weak": {"events": "avkit.heads.segment:WeakEventHead"},
    "avvp": {"parsing": "avkit.heads.segment:ParsingHead"},
    "ssl": {"heatmap": "avkit.heads.heat:HeatHead"},
    "avs": {"masks": "avkit.heads.mask:MaskHead"},
    "avqa": {
        "grounded": "avkit.heads.answer:AnswerHead",
        "tspm": "avkit.systems.tspm.head:TSPMHead",
    },
    "davel": {
        "pyramid": "avkit.heads.pyramid:PyramidHead",
        "ccnet": "avkit.systems.ccnet.head:CCNetHead",
    },
}

#: Classes that the package offers by their own names.
_CLASSES = {path.partition(":")[2]: path for heads in HEADS.values() for path in heads.values()} | {
    "Head": "avkit.heads.base:Head",
    "HeadInputs": "avkit.heads.base:HeadInputs",
}
__all__ = ["HEADS", "create_head", "find_head", "list_heads", *_CLASSES]


def __getattr__(name: str) -> Any:
    """Import a head's class when it is asked for."""
    if name not in _CLASSES:
        raise AttributeError(f"module 'avkit.heads' has no attribute {name!r}")
    module, _, attribute = _CLASSES[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)


def list_heads(task: str | None = None) -> list[str]:
    """Names of the heads of a task, the default first; of all tasks where None.

    Raises:
        ValueError: If the task is unknown.
    """
    if task is None:
        return list(dict.fromkeys(name for heads in HEADS.values() for name in heads))
    if task not in HEADS:
        raise unknown_name("task", task, HEADS)
    return list(HEADS[task])


def find_head(task: str, name: str | None = None, default: str = "") -> "type[Head]":
    """The class of a head.

    Args:
        task: Name of the task.
        name: Name of the head, or `package.module:Class` of one from outside; the task's default where None.
        default: `package.module:Class` of the default head of a task from outside.

    Raises:
        ValueError: If it is unknown, cannot be imported, or is no head.
    """
    from avkit.heads.base import Head

    known = HEADS.get(task, {})
    if name is None:
        name = next(iter(known), default)
    if not name:
        raise ValueError(
            f"Task {task!r} has no default head. Set `default_head` of its class to package.module:Class, or choose a "
            "head with --model.heads."
        )
    if ":" not in name and name not in known:
        raise unknown_name(f"head of task {task!r}", name, known)
    return import_part("head", known.get(name, name), Head)


def create_head(task: str, name: str | None, inputs: "HeadInputs", default: str = "", **options: Any) -> "Head":
    """A new head.

    Args:
        task: Name of the task.
        name: See `find_head`.
        inputs: What it is built for.
        default: See `find_head`.
        options: Fields of the head's `Options`.

    Raises:
        ValueError: If the head or an option is unknown.
    """
    from avkit.heads.base import BuiltWith, make_options

    cls = find_head(task, name, default)
    with building("head", cls):
        head = cls(inputs, make_options(cls, options))
    head.built_with = BuiltWith(task, name or next(iter(HEADS.get(task, {})), default), inputs, options)
    return head
