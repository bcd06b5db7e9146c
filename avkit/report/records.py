# SPDX-License-Identifier: Apache-2.0
"""Plain records that reports are made from: scores and examples of a run, and what was predicted for one clip.

Letters as in `avkit.batch`: T steps of `hop` seconds, H W pixels.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from avkit.answers import Answer, Event, StepGrid
from avkit.report.efficiency import Efficiency
from avkit.report.images import Pixels, stretch
from avkit.report.rows import Row

A = TypeVar("A", bound=Answer)
Array = NDArray[Any]


@dataclass
class Example:
    """A clip shown with what was predicted and what is true, frame by frame.

    Attributes:
        images: Frames of the clip, each uint8 (H, W, 3).
        times: Second of each frame; empty to number the frames instead.
        masks: Prediction (T, h, w) of any size, tinted: float probabilities, cut at 0.5, or integers with 0 background.
        heats: Prediction (T, h, w) of any size that glows where it is high; rows of NaN have none.
        silent_masks: What `masks` would be without sound, shown beside it.
        silent_heats: What `heats` would be without sound.
        heats_mean: What glows, in a few words, such as `what the sound goes with`.
        strips: Further heat maps (T, h, w) by what they show, each drawn on a copy of the frames below them.
        marks: A few words about each frame, such as why it was looked at, or none.
        truth_masks: The same for the truth, outlined.
        events: Predicted events, shown over time above the true ones.
        truth_events: True events; None where they are not known.
        duration: Length of the clip in seconds, for events.
        curves: By name seconds and values in [0, 1], drawn over the same time as the events.
        beside: Name of another run whose events are shown too; empty if there is none.
        beside_events: The events that it predicts.
        score: Its own score and the metric, such as `mIoU 71.3`.
        captions: Predicted caption under each frame, or none.
        truth_captions: True caption under each frame, or none.

    Raises:
        ValueError: If a list or mask does not have one entry per frame.
    """

    task: str
    id: str
    images: list[NDArray[np.uint8]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    masks: Array | None = None
    heats: Array | None = None
    silent_masks: Array | None = None
    silent_heats: Array | None = None
    heats_mean: str = ""
    truth_masks: Array | None = None
    strips: dict[str, Array] = field(default_factory=dict)
    marks: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    truth_events: list[Event] | None = None
    duration: float = 0.0
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    beside: str = ""
    beside_events: list[Event] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    truth_captions: list[str] = field(default_factory=list)
    question: str = ""
    answer: str = ""
    truth_answer: str = ""
    note: str = ""
    score: str = ""

    def __post_init__(self) -> None:
        count = len(self.images)
        values = vars(self)
        for name in EXAMPLE_MAPS:
            if values[name] is not None and len(values[name]) != count:
                raise self._length_error(name, len(values[name]))
        for name in ("times", "marks", "captions", "truth_captions"):
            if values[name] and len(values[name]) != count:
                raise self._length_error(name, len(values[name]))

    def _length_error(self, name: str, length: int) -> ValueError:
        return ValueError(
            f"Example {self.id!r}: {name} has {length} entries for {len(self.images)} images. "
            "Give one per image, or leave it out."
        )

    @property
    def right(self) -> bool | None:
        """Whether the answer equals the true one, ignoring case and outer spaces; None where there is no truth."""
        if not self.truth_answer:
            return None
        return self.answer.strip().lower() == self.truth_answer.strip().lower()


#: Attributes of an `Example` with a map per frame.
EXAMPLE_MAPS = ("masks", "heats", "silent_masks", "silent_heats", "truth_masks")


class Curve(TypedDict):
    """Training loss of one task: optimizer steps and the loss at each."""

    step: list[int]
    loss: list[float]


@dataclass(frozen=True)
class ReportVerdict:
    """Whether the figures of a benchmark agree with published ones.

    Attributes:
        word: The verdict, such as `not comparable`.
        reasons: Why, one clause each.
        status: 0 where they agree, 1 where they differ, 2 where they cannot be compared.
        published: The published row and its source.
        experiment: Id of the experiment whose recipe was run; None where it was no experiment's.
    """

    task: str
    dataset: str
    word: str
    reasons: tuple[str, ...]
    status: int
    published: str
    experiment: str | None = None

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        reasons = f" ({'; '.join(self.reasons)})" if self.reasons else ""
        return f"{self.task} on {self.dataset} beside {self.published}: {self.word}{reasons}"


@dataclass
class RunReport:
    """All that the report of a run shows.

    Attributes:
        examples_note: How the examples were chosen.
        curves: Loss curve by task.
        efficiency: What answers cost, a row per task.
        facts: By section (model, speed, provenance ...) a table of name and text.
        notes: Sentences that a reader of the numbers needs.
        verdicts: On published figures, one of each benchmark that has some.
    """

    name: str
    title: str = ""
    rows: list[Row] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    curves: dict[str, Curve] = field(default_factory=dict)
    efficiency: list[Efficiency] = field(default_factory=list)
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    examples_note: str = ""
    verdicts: list[ReportVerdict] = field(default_factory=list)


@dataclass
class Result:
    """What the model says about one clip. Arrays may come as tensors on the CPU.

    Attributes:
        source: The media file.
        duration: Length in seconds.
        hop: Seconds per step.
        tasks: Names of the tasks that were asked.
        answers: Their answers, in this order.
        waveform: float32 (samples,), mono at `avkit.batch.SAMPLE_RATE`.
        frames: uint8 (T, 3, H, W), one picture per step.
        notes: Sentences that a reader of the answers needs.
        provenance: Where the answers come from, by name.
        size: Height and width of the source in pixels; by default that of `frames`, else that of the masks.
        pictures: Pictures of some steps as the source shows them, uint8 (H, W, 3); of the others `frames` are shown.
        domains: What the run was trained on, by task: `scenes`, `official` or `own`; tasks of which that is unknown are
            left out.
        warning: What a reader must know before any answer, such as that the run has seen drawn shapes alone.
        short_warning: The same in a few words, for frames.
        beside: Answers of another run, such as a baseline, which are shown on the same time line.
        beside_name: Name of that run.
        crop: Side of the square in the middle of pictures whose parts the model was given, as a share of their shorter
            side; 0 where it was given all of them.

    Raises:
        ValueError: If the parts disagree about T, or duration or hop is not positive.
    """

    source: Path
    duration: float
    hop: float
    tasks: list[str]
    answers: list[Answer] = field(default_factory=list)
    waveform: Array | None = None
    frames: Array | None = None
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    pictures: dict[int, Pixels] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)
    warning: str = ""
    short_warning: str = ""
    beside: list[Answer] = field(default_factory=list)
    beside_name: str = ""
    crop: float = 0.0

    def __post_init__(self) -> None:
        if not (self.duration > 0 and self.hop > 0):
            raise ValueError(f"Result: duration={self.duration} and hop={self.hop} must be positive seconds.")
        if self.waveform is not None:
            self.waveform = np.asarray(self.waveform)
        if self.frames is not None:
            self.frames = np.asarray(self.frames)
        if self.size is None:
            self.size = self._picture_size()
        self.steps = self._count_steps()

    def _picture_size(self) -> tuple[int, int] | None:
        """Height and width of the frames, else of an answer that covers pictures."""
        if self.frames is not None:
            return self.frames.shape[2], self.frames.shape[3]
        for answer in self.answers:
            if answer.picture_size is not None:
                return answer.picture_size
        return None

    def _count_steps(self) -> int:
        """The number of steps T that all parts agree about."""
        counts: dict[str, int] = {}
        if self.frames is not None:
            counts["frames"] = len(self.frames)
        for answer in self.answers:
            if answer.steps is not None:
                counts[f"{answer.kind} of {answer.task}"] = answer.steps
        if len(set(counts.values())) > 1:
            raise ValueError(f"Result: the parts have different numbers of steps: {counts}. Cut them to the same T.")
        for count in counts.values():
            return count
        return math.ceil(self.duration / self.hop - 1e-6)

    @property
    def grid(self) -> StepGrid:
        """The steps of the clip."""
        return StepGrid(self.hop, self.steps, self.duration)

    def span(self, step: int) -> tuple[float, float]:
        """Start and end of a step in seconds; the last one ends with the clip."""
        return self.grid.span(step)

    def picture(self, step: int) -> Pixels | None:
        """The picture of a step in the shape of the source, uint8 (H, W, 3); None without pictures."""
        if step in self.pictures:
            return self.pictures[step]
        if self.frames is None:
            return None
        image = self.frames[step].transpose(1, 2, 0)
        return stretch(image, self.size or image.shape[:2])

    def of(self, kind: type[A]) -> list[A]:
        """The answers of a kind, in order of tasks."""
        return [answer for answer in self.answers if isinstance(answer, kind)]

    def first(self, kind: type[A]) -> A | None:
        """The first answer of a kind, None if there is none."""
        answers = self.of(kind)
        return answers[0] if answers else None
