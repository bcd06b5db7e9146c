# SPDX-License-Identifier: Apache-2.0
"""Answers about what happens when: a label per step, labels per step and modality, and events with start and end."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from avkit.answers.base import Answer, RowsByName, Scope, StepGrid, join_grids
from avkit.answers.encoding import Record

Modality = Literal["heard", "seen", "both"]
Active = NDArray[np.bool_]

#: Probability from which a class counts as present in a step.
_PRESENT = 0.5


@dataclass
class Event:
    """Something that happens from `start` to `end`, in seconds from the start of the clip.

    Attributes:
        task: Name of the task that detected it.
        modality: `heard`, `seen`, or `both`.
        name: Name of its class.
        start: Seconds.
        end: Seconds.
        score: Probability; None if the task gives none.
    """

    task: str
    modality: Modality
    name: str
    start: float
    end: float
    score: float | None = None


class TimedAnswer(Answer):
    """An answer that can be told as events."""

    @abstractmethod
    def events(self) -> list[Event]:
        """The events."""

    def step_texts(self) -> list[str] | None:
        """What happens in each step, in words; None if the answer is not per step."""
        return None


@dataclass(eq=False)
class StepLabels(TimedAnswer):
    """One label per step: the event that is heard and seen.

    Attributes:
        labels: T names of classes; empty for background.
        grid: The steps.
        modality: `both`, or `heard` where nothing tells what is seen.
    """

    kind: ClassVar[str] = "step_labels"
    prediction_values: ClassVar[tuple[str, ...]] = ("event",)
    target_fields: ClassVar[tuple[str, ...]] = ("audio_segments", "visual_segments")

    labels: list[str]
    grid: StepGrid
    modality: Modality = "both"

    @classmethod
    def from_values(cls, values: RowsByName, row: int, scope: Scope) -> "StepLabels":
        """The labels of one row; `event_modality` says of what, where it is not both."""
        modality: Modality = values["event_modality"][row] if "event_modality" in values else "both"
        return cls(scope.task, list(values["event"][row][: scope.grid.steps]), scope.grid, modality)

    @classmethod
    def from_targets(cls, targets: RowsByName, row: int, scope: Scope) -> "StepLabels":
        """The true labels of one sample; classes that occur at once are separated by commas."""
        audible = _active(targets["audio_segments"][row], scope)
        visible = _active(targets["visual_segments"][row], scope)
        return cls(scope.task, [join_names(step, scope.classes) for step in audible & visible], scope.grid)

    @classmethod
    def join(cls, parts: Sequence["StepLabels"]) -> "StepLabels":
        """The labels of all windows."""
        labels: list[str] = []
        for part in parts:
            labels += part.labels
        return cls(parts[0].task, labels, join_grids([part.grid for part in parts]), parts[0].modality)

    def to_json(self) -> Record:
        """The answer in the types that JSON knows; the modality where it is not both."""
        record = super().to_json()
        if self.modality == "both":
            del record["modality"]
        return record

    @classmethod
    def from_json(cls, record: Record) -> "StepLabels":
        """The answer that `to_json` wrote."""
        modality = record.get("modality", "both")
        return cls(record["task"], list(record["labels"]), StepGrid(**record["grid"]), modality)

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return len(self.labels)

    def events(self) -> list[Event]:
        """Stretches of steps with the same label, by their start."""
        names = sorted(set(self.labels) - {""})
        active = np.zeros((len(self.labels), len(names)), dtype=bool)
        for step, label in enumerate(self.labels):
            if label:
                active[step, names.index(label)] = True
        return active_stretches(self.task, self.modality, names, active, self.grid)

    def step_texts(self) -> list[str]:
        """The labels, `background` where there is none."""
        return [label or "background" for label in self.labels]


@dataclass(eq=False)
class ModalityLabels(TimedAnswer):
    """Labels per step and modality: what is heard and what is seen.

    Attributes:
        names: Names of classes in index order.
        audible: bool (T, K).
        visible: bool (T, K).
        grid: The steps.
    """

    kind: ClassVar[str] = "modality_labels"
    prediction_values: ClassVar[tuple[str, ...]] = ("audio_scores", "visual_scores", "clip_scores")
    target_fields: ClassVar[tuple[str, ...]] = ("audio_segments", "visual_segments")

    names: list[str]
    audible: Active
    visible: Active
    grid: StepGrid

    @classmethod
    def from_values(cls, values: RowsByName, row: int, scope: Scope) -> "ModalityLabels":
        """Classes that are likelier than not, in the step and in the window as a whole."""
        in_window = values["clip_scores"][row] >= _PRESENT
        audible = _active((values["audio_scores"][row] >= _PRESENT) & in_window, scope)
        visible = _active((values["visual_scores"][row] >= _PRESENT) & in_window, scope)
        return cls(scope.task, list(scope.classes), audible, visible, scope.grid)

    @classmethod
    def from_targets(cls, targets: RowsByName, row: int, scope: Scope) -> "ModalityLabels":
        """The true labels of one sample."""
        audible = _active(targets["audio_segments"][row], scope)
        visible = _active(targets["visual_segments"][row], scope)
        return cls(scope.task, list(scope.classes), audible, visible, scope.grid)

    @classmethod
    def join(cls, parts: Sequence["ModalityLabels"]) -> "ModalityLabels":
        """The labels of all windows."""
        return cls(
            parts[0].task,
            parts[0].names,
            np.concatenate([part.audible for part in parts]),
            np.concatenate([part.visible for part in parts]),
            join_grids([part.grid for part in parts]),
        )

    @classmethod
    def from_json(cls, record: Record) -> "ModalityLabels":
        """The answer that `to_json` wrote."""
        return super().from_json({**record, "grid": StepGrid(**record["grid"])})

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return len(self.audible)

    def events(self) -> list[Event]:
        """Stretches in which a class is heard, then those in which one is seen, each by their start."""
        audible = active_stretches(self.task, "heard", self.names, self.audible, self.grid)
        visible = active_stretches(self.task, "seen", self.names, self.visible, self.grid)
        return audible + visible

    def step_texts(self) -> list[str]:
        """What is heard and what is seen."""
        texts = []
        for audible, visible in zip(self.audible, self.visible, strict=True):
            audible_names = join_names(audible, self.names) or "nothing"
            visible_names = join_names(visible, self.names) or "nothing"
            texts.append(f"heard {audible_names}; seen {visible_names}")
        return texts


@dataclass(eq=False)
class Events(TimedAnswer):
    """Events with start and end that do not keep to steps.

    Attributes:
        items: The events, by their start.
    """

    kind: ClassVar[str] = "events"
    prediction_values: ClassVar[tuple[str, ...]] = ("event_list",)
    target_fields: ClassVar[tuple[str, ...]] = ("events",)
    min_score: ClassVar[float] = 0.25

    items: list[Event] = field(default_factory=list)

    @classmethod
    def from_values(cls, values: RowsByName, row: int, scope: Scope) -> "Events":
        """Events of at least `min_score`, from rows of start s, end s, class and score.

        `event_list_modality` says of each row whether it is heard, seen, or both, where it is not both.
        """
        items = []
        rows = values["event_list"][row].tolist()
        modalities = values["event_list_modality"][row] if "event_list_modality" in values else ["both"] * len(rows)
        for (start, end, number, score), modality in zip(rows, modalities, strict=True):
            if score >= cls.min_score:
                items.append(replace(_event(scope, start, end, number, score), modality=modality))
        return cls(scope.task, sorted(items, key=_order))

    @classmethod
    def from_targets(cls, targets: RowsByName, row: int, scope: Scope) -> "Events":
        """The true events, from rows of start s, end s and class."""
        items = [_event(scope, start, end, number) for start, end, number in targets["events"][row].tolist()]
        return cls(scope.task, sorted(items, key=_order))

    @classmethod
    def join(cls, parts: Sequence["Events"]) -> "Events":
        """The events of all windows."""
        items: list[Event] = []
        for part in parts:
            items += part.items
        return cls(parts[0].task, sorted(items, key=_order))

    @classmethod
    def from_json(cls, record: Record) -> "Events":
        """The answer that `to_json` wrote."""
        return cls(record["task"], [Event(**item) for item in record["items"]])

    def events(self) -> list[Event]:
        """The events, by their start."""
        return self.items

    def __str__(self) -> str:
        """The events in one line."""
        texts = [f"{event.name} {event.start:.1f} to {event.end:.1f} s" for event in self.items]
        return ", ".join(texts) or "nothing"


def active_stretches(
    task: str, modality: Modality, names: Sequence[str], active: Active, grid: StepGrid
) -> list[Event]:
    """Stretches of steps in which a class is active, bool (T, K), as events by their start."""
    changes = np.diff(np.pad(active.astype(np.int8), ((1, 1), (0, 0))), axis=0)
    events = []
    for column, name in zip(changes.T, names, strict=True):
        edges = np.flatnonzero(column).tolist()
        for first, after in list(pairwise(edges))[::2]:
            events.append(Event(task, modality, name, grid.span(first)[0], grid.span(after - 1)[1]))
    return sorted(events, key=lambda event: (event.start, event.name))


def join_names(active: Active, names: Sequence[str]) -> str:
    """The names of active classes, bool (K,), separated by commas."""
    return ", ".join(name for name, on in zip(names, active, strict=True) if on)


def _active(values: Tensor, scope: Scope) -> Active:
    """Values (T, K) of steps that are no padding, as bool."""
    return values[: scope.grid.steps].bool().cpu().numpy()


def _event(scope: Scope, start: float, end: float, number: float, score: float | None = None) -> Event:
    name = scope.classes[int(number)]
    return Event(scope.task, "both", name, start + scope.grid.start, end + scope.grid.start, score)


def _order(event: Event) -> tuple[float, float, str, float]:
    return event.start, event.end, event.name, event.score or 0.0
