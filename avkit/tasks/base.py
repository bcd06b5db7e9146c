# SPDX-License-Identifier: Apache-2.0
"""The contract of a task."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torchmetrics import Metric

from avkit.batch import Batch, Prediction, Vocabulary

#: Answers a batch without having learnt anything but counts.
Baseline = Callable[[Batch], Prediction]


class Task(ABC):
    """A question put to a clip: the targets it reads, its head, loss, prediction and official metrics.

    Args:
        vocabulary: The dataset's classes, answers and words.
    """

    #: Name on the command line and of the file.
    name: ClassVar[str]
    #: Targets without which the task cannot be trained or scored, see `avkit.batch.FIELDS`.
    reads: ClassVar[tuple[str, ...]]
    #: Those of `reads` that a sample cannot do without; others may be unknown in some. All of them where None.
    learns_from: ClassVar[tuple[str, ...] | None] = None
    #: Targets used where the dataset has them.
    may_read: ClassVar[tuple[str, ...]] = ()
    #: Whether each step is answered by itself, so that a part of a clip can be learnt from.
    stepwise: ClassVar[bool] = False
    #: Training steps that the task needs in joint training, relative to the others.
    need: ClassVar[float] = 1.0
    #: Whether the answer is about pixels; others read each picture in few parts, which costs less.
    pixels: ClassVar[bool] = True
    #: What the text encoder is given, unless the item brings a question.
    prompt: ClassVar[str]
    #: The metric that chooses the best checkpoint, higher is better.
    monitor: ClassVar[str]
    #: The metrics the demo is judged by, in the order of the report.
    headline: ClassVar[tuple[str, ...]]

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    @abstractmethod
    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """A new head for tokens of `width`; called as `head(tokens, **task.inputs(batch))`."""

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """What the head needs of the truth in training, such as the words so far; nothing by default."""
        return {}

    @abstractmethod
    def loss(self, out: Any, batch: Batch) -> dict[str, Tensor]:
        """Scalars by name, with `loss` the one to minimise."""

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
