# SPDX-License-Identifier: Apache-2.0
"""What travels from file to report: Item, Batch, Tokens, Prediction, and the vocabulary of a dataset.

Letters in all shapes: B samples, C clips, T steps of `hop` seconds, P patches of a frame, L text tokens, D width,
K classes, H W pixels.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor

#: Sample rate of every waveform inside avkit, in Hz.
SAMPLE_RATE = 16_000

#: What `forward` of a head or system makes and its `loss` and `predict` take: each one's own record or tensor.
Output: TypeAlias = Any
#: Losses by name, scalars; `loss` is the one to minimise, the others are its parts.
Losses: TypeAlias = dict[str, Tensor]
#: Targets by field name, see `avkit.fields`.
Targets: TypeAlias = dict[str, Any]

Record = TypeVar("Record")


def exportable(record: type[Record]) -> type[Record]:
    """Let graphs of `torch.export` take and return a dataclass; a decorator above `@dataclass`."""
    torch.export.register_dataclass(record, serialized_type_name=f"{record.__module__}.{record.__qualname__}")
    return record


class FeatureWidths(NamedTuple):
    """Widths of stored features; 0 where the data hold pictures or sound instead."""

    visual: int = 0
    audio: int = 0


@dataclass
class Vocabulary:
    """Names and words of a dataset: what sizes a head and names its answers.

    Where tasks read different datasets, `of` gives each the classes and answers of its own; all share the words, and
    `classes` and `answers` hold those of all datasets.

    Attributes:
        classes: Names of classes in index order, without background.
        answers: Answers of `avqa` in index order.
        words: Words of questions, prompts and captions in index order.
        pieces: Word pieces of captions in index order, for systems that write captions in word pieces.
        tasks: Classes and answers by task, as dictionaries, where tasks read different datasets.
    """

    classes: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    tasks: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)

    def of(self, task: str) -> "Vocabulary":
        """The vocabulary of a task's dataset."""
        own = self.tasks.get(task)
        if own is None:
            return self
        return Vocabulary(own["classes"], own["answers"], self.words, pieces=self.pieces)


def benchmark_name(task: str, dataset: str = "") -> str:
    """Name under which a task is scored: the task, and its dataset where it has several, such as avs/avsbench-s4."""
    return f"{task}/{dataset}" if dataset else task


def task_of(benchmark: str) -> str:
    """The task in the name of a benchmark."""
    return benchmark.partition("/")[0]


def join_vocabularies(by_task: Mapping[str, Vocabulary]) -> Vocabulary:
    """One vocabulary of several tasks' datasets; that of the dataset itself where there is only one."""
    vocabularies = list(by_task.values())
    if all(vocabulary == vocabularies[0] for vocabulary in vocabularies):
        return vocabularies[0]

    own = {task: {"classes": v.classes, "answers": v.answers} for task, v in by_task.items()}
    return Vocabulary(
        _each_once(vocabulary.classes for vocabulary in vocabularies),
        _each_once(vocabulary.answers for vocabulary in vocabularies),
        _each_once(vocabulary.words for vocabulary in vocabularies),
        own,
    )


def _each_once(lists: Iterable[Sequence[str]]) -> list[str]:
    """The entries of all lists in order, each once."""
    return list(dict.fromkeys(chain.from_iterable(lists)))


@dataclass
class Item:
    """One clip, with a question or several where it is asked about.

    Attributes:
        id: Name of the clip, unique in its split.
        duration: Length in seconds.
        hop: Seconds per step.
        offset: Seconds from the start of the clip to the start of step 0; features whose window is longer than their
            hop have one.
        frames: uint8 (T, 3, H, W), RGB, one picture per step; None where `visual` is given.
        waveform: float32 (samples,), mono in [-1, 1] at `SAMPLE_RATE`; None where `audio` is given.
        visual: Stored visual features instead of frames, float (T, P, Dv).
        audio: Stored audio features instead of the waveform, float (T, Da).
        text: A question or referring expression, several about the same clip, or None.
        targets: Ground truth by field name, see `avkit.fields`; with several questions `answer` and `question_type` are
            lists of as many.
        expert: Features of a large vision-language model, (M, E), or None.
        place: Number of the sample in its dataset; None where it is of none.
        sources: As in `Batch`, integers (T, h, w); read for reports and pages alone, else None.
    """

    id: str
    duration: float
    hop: float = 1.0
    frames: Tensor | None = None
    waveform: Tensor | None = None
    visual: Tensor | None = None
    audio: Tensor | None = None
    text: str | list[str] | None = None
    targets: Targets = field(default_factory=dict)
    offset: float = 0.0
    expert: Tensor | None = None
    place: int | None = None
    sources: Tensor | None = None

    @property
    def steps(self) -> int:
        """Number of steps T."""
        for rows in (self.frames, self.visual, self.audio):
            if rows is not None:
                return len(rows)
        raise ValueError(f"Item {self.id!r} has neither frames nor features.")


@exportable
@dataclass
class StepRows:
    """Which steps of a batch count, found out on the CPU, so that no training step waits for a GPU to say so.

    Attributes:
        valid: Numbers of the valid steps among all C T, rising, int64 (N,); None where all are valid.
        annotated: Numbers of the valid steps with an annotated mask, int64 (N,); None where these are all steps.
    """

    valid: Tensor | None = None
    annotated: Tensor | None = None


@exportable
@dataclass
class Batch:
    """Items of one task side by side; shapes as in `Item` with a leading axis, padded with zeros.

    Where clips have several questions each question is a sample: id, text and targets have B entries, pictures and
    sound only C, one per clip, so that a clip is encoded once however many questions it has.

    Attributes:
        task: The one task this batch is for.
        dataset: Name of the clips' dataset where the task has several, which a batch does not mix; else empty.
        valid: bool (C, T), False on padding.
        text: One question per sample, or None.
        targets: Tensors padded to (B, T, ...) or (B, N, ...); spans such as `events`, and what is no tensor, as a list
            of B.
        clip: int64 (B,), the clip of each sample, or None where every clip is one sample.
        offset: Seconds from the start of a clip to the start of step 0.
        expert: (C, M, E), zeros where unknown, or None where no clip has any.
        expert_known: bool (C, M).
        places: Number of each clip in its dataset, C of them, or None where they are of none.
        sources: Where stored visual features are merged tokens, the number of the token that each patch of a picture
            went into, integers (C, T, h, w); read for reports and pages alone, else None.
    """

    task: str
    id: list[str]
    duration: Tensor
    hop: float
    valid: Tensor
    frames: Tensor | None = None
    waveform: Tensor | None = None
    visual: Tensor | None = None
    audio: Tensor | None = None
    text: list[str] | None = None
    targets: Targets = field(default_factory=dict)
    clip: Tensor | None = None
    offset: float = 0.0
    expert: Tensor | None = None
    expert_known: Tensor | None = None
    places: list[int] | None = None
    sources: Tensor | None = None
    dataset: str = ""
    rows: StepRows | None = None

    def __len__(self) -> int:
        """Number of samples B."""
        return len(self.id)

    @property
    def benchmark(self) -> str:
        """Name under which the batch is scored, see `benchmark_name`."""
        return benchmark_name(self.task, self.dataset)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The same batch with every tensor on `device`."""
        return self._changed(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The same batch in memory from which a GPU copies while it computes."""
        return self._changed(Tensor.pin_memory)

    def with_rows(self) -> "Batch":
        """The same batch, which knows which of its steps count; for batches on the CPU that nobody changes any more."""
        known = self.targets.get("mask_known")
        annotated = None if known is None else _numbers(known.bool() & self.valid)
        return replace(self, rows=StepRows(_numbers(self.valid), annotated))

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The same batch with another tensor in place of each."""

        def changed(value: Any) -> Any:
            if isinstance(value, Tensor):
                return change(value)
            if isinstance(value, list) and value and isinstance(value[0], Tensor):
                return [changed(tensor) for tensor in value]
            if isinstance(value, dict):
                return {name: changed(entry) for name, entry in value.items()}
            if isinstance(value, StepRows):
                return StepRows(changed(value.valid), changed(value.annotated))
            return value

        return replace(self, **{f.name: changed(getattr(self, f.name)) for f in fields(self)})

    def sample(self, row: int) -> "Batch":
        """One sample as a batch of its own, with its clip."""
        clip = row if self.clip is None else int(self.clip[row])
        of_clip = ("duration", "valid", "frames", "waveform", "visual", "audio", "expert", "expert_known", "places")
        values = {name: _one(getattr(self, name), clip) for name in of_clip}
        targets = {name: _one(value, row) for name, value in self.targets.items()}
        return replace(
            self, id=[self.id[row]], text=_one(self.text, row), targets=targets, clip=None, rows=None, **values
        )


@exportable
@dataclass
class CaptionWords:
    """The written captions of a batch as numbers of words, N of them, clip by clip and step by step.

    Attributes:
        words: int64 (N, L), start and end included, padded.
        rows: Numbers of the captions' steps among all B T, int64 (N,).
    """

    words: Tensor
    rows: Tensor


@exportable
@dataclass
class Tokens:
    """What encoders make, the backbone mixes and heads read.

    Attributes:
        audio: (B, T, D).
        frame: (B, T, D), one token per picture.
        patches: (B, T, P, D), row by row over `grid`.
        grid: Rows and columns of the patches.
        valid: bool (B, T).
        pyramid: Feature maps (B, T, C, h, w), finest first; empty where a head asks for no pixels.
        text: (B, L, D) tokens of the prompt or question, or None.
        text_valid: bool (B, L).
        text_lengths: Number of tokens of each, int64 (B,), on the CPU, where it is known there, else None.
        prompt: (B, D), the pooled prompt or question, or None.
        captions: The written captions, where the head has read them before, see `avkit.heads.base.Head.read_captions`.
        shown: Values of a `Prediction` that show how the backbone made the tokens, beside an answer to a question.
        second_prompt: (B, D), a further text that the head asked for, see `avkit.heads.base.Head.second_prompts`.
        names: (K, D), text features of the dataset's class names, or None.
        own_sound: (B, T, D), the sound of each step as it was before the backbone, or None, see
            `avkit.heads.base.Head.needs_own_sound`.
        picture: uint8 (B, T, 3, H, W), the pictures themselves, or None where only features are known.
        expert: Features of a large vision-language model, (B, M, E), or None.
        expert_known: bool (B, M).
    """

    audio: Tensor
    frame: Tensor
    patches: Tensor
    grid: tuple[int, int]
    valid: Tensor
    pyramid: list[Tensor] = field(default_factory=list)
    text: Tensor | None = None
    text_valid: Tensor | None = None
    text_lengths: Tensor | None = None
    prompt: Tensor | None = None
    names: Tensor | None = None
    own_sound: Tensor | None = None
    picture: Tensor | None = None
    expert: Tensor | None = None
    expert_known: Tensor | None = None
    second_prompt: Tensor | None = None
    captions: CaptionWords | None = None
    shown: dict[str, Tensor] = field(default_factory=dict)


@exportable
@dataclass
class Prediction:
    """What a task answers for one batch, in the user's units: seconds, pixels, words.

    Attributes:
        task: Name of the task.
        id: Ids of the samples, B of them.
        values: By name, with B in front. `avkit.answers` says which names each kind of answer reads; metrics read them
            too. A name that ends in `_logits` holds scores before the softmax, of which only the order counts; `mask`,
            `source_mask` and all names that end in `_scores` hold probabilities; `heat` may have any range.
    """

    task: str
    id: list[str]
    values: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        """The value `name`."""
        return self.values[name]

    def sample(self, row: int) -> "Prediction":
        """The answer for one sample, as a prediction of a batch of one."""
        values = {name: _one(value, row) for name, value in self.values.items()}
        return Prediction(self.task, [self.id[row]], values)


def _numbers(flags: Tensor) -> Tensor | None:
    """Numbers of the True entries, read row by row; None where all are True."""
    return None if bool(flags.all()) else flags.flatten().nonzero()[:, 0]


def _one(values: Any, row: int) -> Any:
    """One row of a tensor or list, with an axis of length 1 in front; anything else as it is."""
    return values[row : row + 1] if isinstance(values, Tensor | list) else values
