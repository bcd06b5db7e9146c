# SPDX-License-Identifier: Apache-2.0
"""Helpers that propose labels: one interface, so that a page needs not know which model answers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from avkit.annotation.values import Key
from avkit.errors import AvkitError, unknown_name
from avkit.systems.zero_shot.catalogue import parts_of

#: What helpers can be asked for, and what it is called.
TASKS: Mapping[str, str] = {
    "masks": "outlines an object from a box and points",
    "tracker": "follows a mask through the steps",
    "names": "names what is heard, and when",
    "boxes": "finds a named object in the picture",
    "sentences": "describes an object",
}
#: Name that leaves a task out.
NONE = "none"
#: Helpers of each task by name, the default first, as `module:Class`.
HELPERS: Mapping[str, Mapping[str, str]] = {
    "masks": {"grabcut": "opencv:GrabCut", "sam2": "sam2:Outliner", "sam": "sam:Outliner"},
    "tracker": {"flow": "opencv:OpticalFlow", "sam2": "sam2:Tracker"},
    "names": {NONE: "", **dict.fromkeys(parts_of("sound"), "tagger:Namer")},
    "boxes": {NONE: "", **dict.fromkeys(parts_of("boxes"), "grounding:Finder")},
    "sentences": {NONE: "", **dict.fromkeys([*parts_of("language"), "vlm"], "describer:Describer")},
}


class HelperError(AvkitError):
    """A helper cannot do what it is asked for; its text is shown on the page."""


@dataclass(frozen=True)
class HelperChoice:
    """Which helper does a task.

    Attributes:
        task: A key of `TASKS`.
        name: Its name, a key of `HELPERS[task]`.
        weights: Path of its weights; None to look for them.
        offline: Download nothing.
        accepted: Licences that the user accepts, separated by commas.
        device: Where models run: `auto`, `cpu`, `cuda`.
    """

    task: str
    name: str
    weights: str | None = None
    offline: bool = False
    accepted: str = ""
    device: str = "auto"


@dataclass(frozen=True)
class Request:
    """What a helper is asked.

    Attributes:
        path: The video.
        hop: Seconds per step.
        steps: Number of steps.
        duration: Seconds.
        size: Height and width of masks.
        object: Number of the object.
        name: Its name.
        step: The step that is looked at.
        last: Step up to which a mask is followed, before or after `step`.
        box: Left, top, right, bottom in pixels of masks.
        points: Column, row, and whether it lies on the object, in pixels of masks.
        mask: Value of the object's mask in `step`.
        masks: Values of the object's masks, by step.
        sounding: Steps in which it sounds.
        classes: Names that objects may have; any where there is none.
        outline_with: The helper that outlines what is in a box; None where there is none.
    """

    path: Path
    hop: float
    steps: int
    duration: float
    size: tuple[int, int]
    object: int = 0
    name: str = ""
    step: int = 0
    last: int = 0
    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float, bool], ...] = ()
    mask: Mapping[str, Any] | None = None
    masks: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    sounding: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    outline_with: HelperChoice | None = None


@dataclass(frozen=True)
class Proposal:
    """What a helper proposes.

    Attributes:
        values: Values by item; object -1 is a new object. Empty where there is only something to say.
        note: What the person must know, such as that the object was lost; empty where there is nothing.
    """

    values: Mapping[Key, dict[str, Any]] = field(default_factory=dict)
    note: str = ""


class Helper(Protocol):
    """Proposes labels."""

    def propose(self, request: Request) -> Iterator[Proposal]:
        """Proposals one by one; between them the work can be cancelled.

        Raises:
            HelperError: If the request lacks something, or a model is not here.
        """
        ...


def parse_choice(task: str, text: str) -> tuple[str, str | None]:
    """Name and weights of a helper written `NAME` or `NAME=PATH`.

    Raises:
        ValueError: If there is no helper of that name.
    """
    name, _, weights = text.partition("=")
    if name != NONE and name not in HELPERS[task]:
        raise unknown_name(f"helper for {task}", name, {*HELPERS[task], NONE})
    return name, weights or None


def make_helper(choice: HelperChoice) -> Helper:
    """The helper of a choice, whose models are not loaded yet.

    Raises:
        HelperError: If a library that it needs is not installed.
    """
    module, _, name = HELPERS[choice.task][choice.name].partition(":")
    try:
        helper: Helper = vars(import_module(f"avkit.annotation.helpers.{module}"))[name](choice)
    except ImportError as error:
        extra = "annotate" if module == "opencv" else "zero_shot"
        raise HelperError(f"{choice.name} needs {error.name}: pip install 'avkit[{extra}]'.") from error
    return helper
