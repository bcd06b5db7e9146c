# SPDX-License-Identifier: Apache-2.0
"""The contract of an answer kind, and what an answer is about.

Letters as in `avkit.batch`: T steps of `hop` seconds, K classes, H W pixels.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

from avkit.answers.encoding import Record, decode, encode
from avkit.batch import Batch, Prediction

A = TypeVar("A", bound="Answer")

#: Values of a prediction, or targets of a batch, by name; each has a row per sample.
RowsByName: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class StepGrid:
    """Consecutive steps of a clip.

    Attributes:
        hop: Seconds per step.
        steps: Number of steps T.
        end: Seconds from the start of the clip to the end of the last step.
        first: Index in the clip of the first step.
    """

    hop: float
    steps: int
    end: float
    first: int = 0

    @property
    def start(self) -> float:
        """Seconds from the start of the clip to the start of the first step."""
        return self.first * self.hop

    @property
    def indices(self) -> slice:
        """The steps' indices in the clip."""
        return slice(self.first, self.first + self.steps)

    def span(self, step: int) -> tuple[float, float]:
        """Start and end of a step in seconds from the start of the clip; the last step ends at `end`."""
        start = (self.first + step) * self.hop
        if step == self.steps - 1:
            return start, max(self.end, start)
        return start, max(min((self.first + step + 1) * self.hop, self.end), start)

    def windows(self, max_steps: int | None) -> list["StepGrid"]:
        """The steps cut into windows of at most `max_steps` steps; one window if None."""
        if max_steps is None or max_steps >= self.steps:
            return [self]
        windows = []
        for offset in range(0, self.steps, max_steps):
            steps = min(max_steps, self.steps - offset)
            first = self.first + offset
            is_last = offset + steps == self.steps
            end = self.end if is_last else (first + steps) * self.hop
            windows.append(StepGrid(self.hop, steps, end, first))
        return windows


def join_grids(grids: Sequence[StepGrid]) -> StepGrid:
    """The steps of consecutive windows as one grid."""
    steps = sum(grid.steps for grid in grids)
    return StepGrid(grids[0].hop, steps, grids[-1].end, grids[0].first)


@dataclass(frozen=True)
class Scope:
    """What an answer is about, and the names that it may use.

    Attributes:
        task: Name of the task that answers.
        grid: The steps that were predicted at once; a prediction's rows beyond them are padding.
        classes: Names of classes in index order, without background.
        answers: Answers to questions in index order.
        question: The question; empty if none was asked.
    """

    task: str
    grid: StepGrid
    classes: Sequence[str] = ()
    answers: Sequence[str] = ()
    question: str = ""


@dataclass(eq=False)
class Answer(ABC):
    """One answer of a task to one clip.

    A subclass is one kind of answer. It says how the answer is read from a model's prediction and, if examples shall
    show it beside the true one, from a batch's targets; how answers about consecutive windows are joined; and, if its
    attributes are not all numbers, strings, arrays, lists and dictionaries, how it is written as JSON. How a kind is
    drawn and shown is said in `avkit.report.renderers`.

    Attributes:
        task: Name of the task that answered.
    """

    #: Name of the kind in JSON.
    kind: ClassVar[str]
    #: Values of a `Prediction` that the answer is read from.
    prediction_values: ClassVar[tuple[str, ...]] = ()
    #: Targets that the true answer is read from; none if the true answer is never shown.
    target_fields: ClassVar[tuple[str, ...]] = ()
    #: Whether a task with this kind of answer is asked a question.
    needs_question: ClassVar[bool] = False
    #: Whether a result holds one answer of this kind, because a picture or a step has room for one.
    exclusive: ClassVar[bool] = False
    #: Least probability of what the answer lists; less likely entries are left out.
    min_score: ClassVar[float] = 0.0

    task: str

    @classmethod
    def read(cls: type[A], prediction: Prediction, row: int, scope: Scope) -> A | None:
        """The answer in one row of a prediction; None if the model does not give this kind of answer."""
        for name in cls.prediction_values:
            if name not in prediction.values:
                return None
        return cls.from_values(prediction.values, row, scope)

    @classmethod
    def read_target(cls: type[A], batch: Batch, row: int, scope: Scope) -> A | None:
        """The true answer to one sample of a batch; None if it is unknown."""
        if not cls.target_fields:
            return None
        for name in cls.target_fields:
            if name not in batch.targets:
                return None
        return cls.from_targets(batch.targets, row, scope)

    @classmethod
    @abstractmethod
    def from_values(cls: type[A], values: RowsByName, row: int, scope: Scope) -> A | None:
        """The answer in one row of a prediction's values, which hold all `prediction_values`."""

    @classmethod
    def from_targets(cls: type[A], targets: RowsByName, row: int, scope: Scope) -> A | None:
        """The true answer to one sample of a batch's targets, which hold all `target_fields`."""
        raise NotImplementedError(f"{cls.__name__} names target_fields and does not read them: define from_targets.")

    @classmethod
    @abstractmethod
    def join(cls: type[A], parts: Sequence[A]) -> A:
        """One answer about consecutive windows, from an answer about each."""

    def to_json(self) -> Record:
        """The answer in the types that JSON knows, with its `kind`; arrays as in `encode_array`."""
        return {"kind": self.kind, **{name: encode(value) for name, value in vars(self).items()}}

    @classmethod
    def from_json(cls: type[A], record: Record) -> A:
        """The answer that `to_json` wrote."""
        return cls(**{name: decode(value) for name, value in record.items() if name != "kind"})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answer) and self.to_json() == other.to_json()

    @property
    def steps(self) -> int | None:
        """Number of steps, if there is an entry per step."""
        return None

    @property
    def picture_size(self) -> tuple[int, int] | None:
        """Height and width in pixels, if the answer covers pictures."""
        return None

    def key_steps(self) -> list[int]:
        """Steps that an example should show although it leaves out others."""
        return []
