# SPDX-License-Identifier: Apache-2.0
"""The contract of a head: it answers one task from the shared backbone's tokens."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from avkit.batch import Batch, CaptionWords, Losses, Output, Prediction, Targets, Tokens, Vocabulary
from avkit.errors import unknown_name
from avkit.nn.flat_output import flat_tensors

if TYPE_CHECKING:
    from avkit.encoders.base import VisualEncoder


@dataclass(frozen=True)
class HeadInputs:
    """What a head is built for.

    Attributes:
        width: Width D of the tokens.
        vocabulary: Classes, answers and words of the task's dataset.
        pyramid_widths: Widths of the feature maps, finest first; empty where features stand for pictures.
        expert_width: Width of the stored features of a vision-language model; 0 where there are none.
    """

    width: int
    vocabulary: Vocabulary
    pyramid_widths: tuple[int, ...] = ()
    expert_width: int = 0

    def need_classes(self) -> int:
        """The number of classes K.

        Raises:
            ValueError: If the dataset names none.
        """
        if not self.vocabulary.classes:
            raise ValueError("This head needs class names, and the dataset has none. Use a dataset that names classes.")
        return len(self.vocabulary.classes)


@dataclass(frozen=True)
class BuiltWith:
    """What `create_head` made a head of, to make it again.

    Attributes:
        task: Name of the task.
        name: Name of the head, or `package.module:Class`.
        inputs: What it was built for.
        options: Fields of its `Options`.
    """

    task: str
    name: str
    inputs: HeadInputs
    options: Mapping[str, Any]


@dataclass(frozen=True)
class NoOptions:
    """Options of a head that has none."""


class Head(nn.Module, ABC):
    """Answers one task from the shared backbone's tokens, with the criterion that trains it.

    A subclass takes `(inputs, options)`, where `options` is a record of its class `Options`.
    """

    #: Dataclass of the head's options, each with a default.
    Options: ClassVar[type] = NoOptions
    #: Whether audio and visual tokens may attend to each other before the head; a head that learns from which sound
    #: belongs to which picture must not know it beforehand.
    cross_modal: bool = True
    #: Whether a cross-modal head is trained without cross-modal attention in some steps of a joint run, so that heads
    #: without it can use what its task teaches about classes.
    trains_unimodal: bool = True
    #: Whether the head reads patches at full resolution and the feature pyramid; otherwise patches are averaged to a
    #: coarse grid and there is no pyramid.
    needs_pixels: bool = True
    #: Of a head that needs pixels, whether it reads the feature pyramid.
    needs_maps: bool = True
    #: Whether the head reads the sound of each step as it was before the backbone too, where a system has it.
    needs_own_sound: bool = False
    #: What `create_head` made it of; None for heads that were made otherwise.
    built_with: BuiltWith | None = None

    @abstractmethod
    def forward(self, tokens: Tokens, batch: Batch) -> Output:
        """Raw outputs. In training mode the head may read the batch's targets, such as the words written so far."""

    @abstractmethod
    def loss(self, output: Output, batch: Batch) -> Losses:
        """Losses by name; `loss` is the one to minimise."""

    @abstractmethod
    def predict(self, output: Output, batch: Batch) -> Prediction:
        """The answer in the user's units: seconds, pixels, words. Reads no targets."""

    def graph_values(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """What an exported graph returns, by name: tensors of `predict`, else those of the raw output.

        By default the latter: names, times and words are read off them in Python.
        """
        return flat_tensors(output)

    def save_pretrained(self, folder: Path | str) -> Path:
        """Write the head with its weights to a folder, see `avkit.heads.pretrained.save_head`."""
        from avkit.heads.pretrained import save_head

        return save_head(self, folder)

    @classmethod
    def from_pretrained(cls, source: Path | str, revision: str | None = None) -> "Head":
        """A saved head from a folder or a repository, see `avkit.heads.pretrained.load_head`.

        Raises:
            TypeError: If it is a head of another class.
        """
        from avkit.heads.pretrained import load_head

        head = load_head(source, revision)
        if not isinstance(head, cls):
            raise TypeError(f"{source} holds a {type(head).__name__}, not a {cls.__name__}.")
        return head

    def pseudo_targets(self, output: Output, batch: Batch) -> Targets:
        """Targets that a weakly supervised head derives from its output, to train a sequence decoder.

        Raises:
            NotImplementedError: If the head is not weakly supervised.
        """
        raise NotImplementedError(f"{type(self).__name__} derives no targets: its task is fully supervised.")

    def check_questions(self, questions: Mapping[str, str]) -> None:
        """Refuse questions of the data, by their ids, that cannot be asked as the options say.

        Raises:
            DataError: If there are some; says how many and what to do.
        """

    def second_prompts(self, questions: Sequence[str]) -> list[str] | None:
        """A further text per question for the text encoder, given to the head as `Tokens.second_prompt`; or None."""
        return None

    def read_captions(self, batch: Batch) -> CaptionWords | None:
        """What a head that writes captions reads of a training batch's; a compiled step is given it as tensors."""
        return None

    def on_epoch_start(self, epoch: int) -> None:
        """Called before each training epoch, counted from 0."""

    def on_evaluation_start(self) -> None:
        """Called before a test or prediction, to forget what `notes` counted."""

    def notes(self) -> list[str]:
        """Sentences for the report about how the task was answered."""
        return []

    def region_encoder(self) -> "VisualEncoder | None":
        """The head's own encoder of regions of pictures, if it has one."""
        return None

    def set_caption_change_threshold(self, threshold: float) -> bool:
        """Repeat a caption while its source changes by less than `threshold`; returns whether the head can."""
        return False


def make_options(head: type[Head], given: dict[str, Any]) -> Any:
    """The options of a head from a mapping.

    Raises:
        ValueError: If an option is unknown.
    """
    names = [field.name for field in fields(head.Options)]
    for name in given:
        if name not in names:
            raise unknown_name(f"option of head {head.__name__}", name, names)
    return head.Options(**given)
