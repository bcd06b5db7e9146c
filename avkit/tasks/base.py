# SPDX-License-Identifier: Apache-2.0
"""The contract of a task."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torchmetrics import Metric

from avkit.answers import Answer, Values
from avkit.batch import Batch, Prediction, Vocabulary

#: Answers a batch without having learnt anything but counts.
Baseline = Callable[[Batch], Prediction]


class Task(ABC):
    """A question put to a clip: its targets, its head, loss, prediction and official metrics.

    Args:
        vocabulary: The dataset's classes, answers and words.
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
    #: Whether small things matter; other tasks read each picture in few parts, which costs less and shows more at once.
    pixels: ClassVar[bool] = True
    #: Whether sound and sight meet before the head; what learns from their pairing alone must not know it beforehand.
    meet: ClassVar[bool] = True
    #: Forms of rows in which the answer is told as a sequence, see `avkit.heads.forms`.
    forms: ClassVar[tuple[str, ...]] = ()
    #: Whether the training labels say less than what the task answers. Joint training draws such a task only after the
    #: first half epoch, and its head makes the targets of the sequence interface, see `teach`.
    weakly_supervised: ClassVar[bool] = False
    #: Name of the dataset that the task is usually trained and evaluated on; None if there is none.
    benchmark: ClassVar[str | None] = None
    #: What the text encoder is given, unless the item brings a question.
    prompt: ClassVar[str]
    #: The metric that chooses the best checkpoint, higher is better.
    monitor: ClassVar[str]
    #: The metrics the demo is judged by, in the order of the report.
    headline: ClassVar[tuple[str, ...]]

    #: Epochs that training has done, for what changes on the way.
    epoch: int = 0

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def begin(self) -> None:  # noqa: B027, most tasks have nothing to forget
        """Called before a test or a prediction: `notes` are about what comes now."""

    def notes(self) -> list[str]:
        """What a report should say about how it was answered, beside the figures."""
        return []

    @classmethod
    def training_targets(cls) -> tuple[str, ...]:
        """Targets that every training sample must have."""
        if cls.required_for_training is not None:
            return cls.required_for_training
        return tuple(name for name in cls.targets if name not in cls.evaluation_only)

    @abstractmethod
    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """A new head for tokens of `width`; called as `head(tokens, **task.inputs(batch))`."""

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """What the head needs of the truth in training, such as the words so far; nothing by default."""
        return {}

    @abstractmethod
    def loss(self, out: Any, batch: Batch) -> dict[str, Tensor]:
        """Scalars by name, with `loss` the one to minimise."""

    def teach(self, out: Any, batch: Batch) -> dict[str, Any]:
        """Of a weakly supervised task: targets by field name, as far as the head's output and the labels tell them."""
        raise NotImplementedError(f"Task {self.name!r} is not weakly supervised.")

    @abstractmethod
    def predict(self, out: Any, batch: Batch) -> Prediction:
        """The head's output in the user's units; needs no targets."""

    @abstractmethod
    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """New official metrics by name; `quick` leaves out what is too slow to run after every epoch."""

    @abstractmethod
    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Update `metrics` with one batch."""

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
