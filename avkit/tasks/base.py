# SPDX-License-Identifier: Apache-2.0
"""The contract of a task: what is asked and how answers are scored, not how they are found."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar

from torchmetrics import Metric

from avkit.answers import Answer, Values
from avkit.answers.encoding import Record
from avkit.batch import Batch, Prediction, Vocabulary

#: Answers a batch by a constant rule.
Baseline = Callable[[Batch], Prediction]


class Task(ABC):
    """A question about a clip: its prompt, the targets that it uses, its official metrics and constant baselines.

    Args:
        vocabulary: Classes, answers and words of the task's dataset.
    """

    #: Name on the command line and of the file.
    name: ClassVar[str]
    #: Targets without which the task cannot be trained or evaluated, see `avkit.fields.FIELDS`.
    targets: ClassVar[tuple[str, ...]]
    #: Those of `targets` that only the metrics use; training does not need them.
    evaluation_only: ClassVar[tuple[str, ...]] = ()
    #: Targets that every training sample must have. Default: all `targets` except `evaluation_only`.
    required_for_training: ClassVar[tuple[str, ...] | None] = None
    #: Targets that are used if the dataset has them.
    optional: ClassVar[tuple[str, ...]] = ()
    #: Kinds of answers that the task gives, the main one first. A result shows one answer of an exclusive kind, such as
    #: a mask: that of the task which names the kind earliest.
    answers: ClassVar[tuple[type[Answer], ...]] = (Values,)
    #: Whether each step is answered on its own, so that training may use crops of clips.
    stepwise: ClassVar[bool] = False
    #: Whether clips are untrimmed (long, of any length); they have a batch size and a crop length of their own.
    untrimmed: ClassVar[bool] = False
    #: How often joint training draws the task, relative to the other tasks.
    sampling_weight: ClassVar[float] = 1.0
    #: Forms of rows in which a sequence decoder writes the answer, see `avkit.heads.forms`; empty if it has none.
    sequence_forms: ClassVar[tuple[str, ...]] = ()
    #: Whether the training labels say less than what the task answers. Joint training draws such a task only after the
    #: first half epoch, and its head makes the targets of the sequence decoder, see `Head.pseudo_targets`.
    weakly_supervised: ClassVar[bool] = False
    #: Name of the dataset that the task is usually trained and evaluated on; None if there is none.
    benchmark: ClassVar[str | None] = None
    #: Head that answers it where none is named, as `package.module:Class`; the first of `avkit.heads.HEADS` for tasks
    #: of avkit.
    default_head: ClassVar[str]
    #: Text for the text encoder, unless the item brings a question.
    prompt: ClassVar[str]
    #: What the official figures make of a sample without a prediction, for `absent`.
    if_absent: ClassVar[str] = "left out"
    #: The metric that chooses the best checkpoint; higher is better.
    monitor: str
    #: The metrics that a report shows first, in order.
    headline: tuple[str, ...]

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    @classmethod
    def training_targets(cls) -> tuple[str, ...]:
        """Targets that every training sample must have."""
        if cls.required_for_training is not None:
            return cls.required_for_training
        return tuple(name for name in cls.targets if name not in cls.evaluation_only)

    @classmethod
    def needs_question(cls) -> bool:
        """Whether each sample brings a question; such a task reads the whole clip."""
        return any(kind.needs_question for kind in cls.answers)

    @abstractmethod
    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """New official metrics by name; `quick` leaves out what is too slow to run after every epoch."""

    @classmethod
    def options_of(cls, protocol: Mapping[str, str], figures: Collection[str]) -> dict[str, object]:
        """Options with which the task was scored, as a record tells them; by default it has none.

        Args:
            protocol: What `metric_protocol` said, by name.
            figures: Names of the figures.
        """
        return {}

    @classmethod
    def options_of_record(cls, record: Record) -> dict[str, object]:
        """Options with which records like this one of a file of predictions are scored; by default it has none."""
        return {}

    def metric_protocol(self) -> dict[str, str]:
        """How the official metrics are set where they leave a choice, by name, as records of measurements state it."""
        return {"metric": "official"}

    @abstractmethod
    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Update `metrics` with one batch."""

    def records(self, prediction: Prediction, batch: Batch) -> list[Record]:
        """What the metrics read of a prediction, as an object of JSON for each sample.

        `prediction` reads it back: the metrics' figures of what it returns are those of the original.

        Raises:
            ValueError: If the task does not store predictions.
        """
        raise self._not_stored()

    def prediction(self, records: Sequence[Record], batch: Batch) -> Prediction:
        """The prediction that records are of.

        Args:
            records: One for each sample of the batch, in its order.
            batch: The samples with their targets.

        Raises:
            RecordError: If a record does not fit its sample or the vocabulary.
            ValueError: If the task does not store predictions.
        """
        raise self._not_stored()

    def absent(self, batch: Batch) -> list[Record]:
        """Records for samples without a prediction, scored as `if_absent` says; none where they are left out."""
        return []

    def _not_stored(self) -> ValueError:
        return ValueError(
            f"Task {self.name!r} does not say how its predictions are stored. Define records() and prediction() in "
            f"{type(self).__name__}."
        )

    @abstractmethod
    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """Constant rules by name, fitted by counting over some batches of the training split."""


def need_classes(task: Task) -> int:
    """The number of classes of the dataset.

    Raises:
        ValueError: If it names none.
    """
    if not task.vocabulary.classes:
        raise ValueError(
            f"Task {task.name!r} needs the names of classes, and the dataset's vocabulary has none. Use a dataset that "
            "names what is heard and seen."
        )
    return len(task.vocabulary.classes)
