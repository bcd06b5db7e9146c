# SPDX-License-Identifier: Apache-2.0
"""Plain records that reports are made from: scores and examples of a run, and what was predicted for one clip.

Letters as in `avkit.batch`: T steps of `hop` seconds, H W pixels.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from avkit.report.efficiency import Efficiency

Array = NDArray[Any]


@dataclass
class Row:
    """One score: what was measured on what, beside what it has to beat.

    A score that is None or NaN counts as not run.

    Attributes:
        value: The score of the model, in [0, 1] where `unit` is a fraction.
        baseline: The score of answering without looking or listening, described by `baseline_name`.
        silence: The score of the same model with the sound replaced by silence.
        swapped: The score of the same model with the sound of another clip.
        clips: Clips that were scored.
        of: Clips of the split.
        better: Which direction is better.
        published: The score in the literature, from `source`.
        unit: `fraction` is shown in percent; `number`, such as CIDEr, has no upper end, so no error to remove.

    Raises:
        ValueError: If a fraction lies outside [0, 1], or more clips were scored than there are.
    """

    task: str
    dataset: str
    split: str
    metric: str
    value: float | None
    baseline: float | None = None
    baseline_name: str = ""
    silence: float | None = None
    swapped: float | None = None
    clips: int = 0
    of: int = 0
    note: str = ""
    better: Literal["higher", "lower"] = "higher"
    published: float | None = None
    source: str = ""
    unit: Literal["fraction", "number"] = "fraction"

    def __post_init__(self) -> None:
        where = f"Row {self.task}/{self.dataset}/{self.split} {self.metric}"
        for name in ("value", "baseline", "silence", "swapped", "published"):
            score = finite(getattr(self, name))
            setattr(self, name, score)
            if score is not None and self.unit == "fraction" and not 0 <= score <= 1:
                raise ValueError(
                    f"{where}: {name} is {score:g}; a fraction lies in [0, 1]. "
                    "Divide percent by 100, or pass unit='number' for a metric without an upper end."
                )
        if self.clips > self.of:
            raise ValueError(f"{where}: clips={self.clips} exceeds of={self.of}, the clips of the split.")

    @property
    def error_removed(self) -> float | None:
        """The share of the baseline's error that the model removes: 1 is perfect, 0 no better, below 0 worse."""
        if self.value is None or self.baseline is None or self.unit == "number":
            return None
        error = 1 - self.baseline if self.better == "higher" else self.baseline
        gain = self.value - self.baseline if self.better == "higher" else self.baseline - self.value
        return gain / error if error else None


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
        marks: A few words about each frame, such as why it was looked at, or none.
        truth_masks: The same for the truth, outlined.
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
    truth_masks: Array | None = None
    marks: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    truth_captions: list[str] = field(default_factory=list)
    question: str = ""
    answer: str = ""
    truth_answer: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        pictures = ("masks", "heats", "silent_masks", "silent_heats", "truth_masks")
        for name in ("times", "marks", "captions", "truth_captions", *pictures):
            value = getattr(self, name)
            if value is not None and len(value) not in (
                {len(self.images)} if name in pictures else {0, len(self.images)}
            ):
                raise ValueError(
                    f"Example {self.id!r}: {name} has {len(value)} entries for {len(self.images)} images. "
                    "Give one per image, or leave it out."
                )

    @property
    def right(self) -> bool | None:
        """Whether the answer equals the true one, ignoring case and outer spaces; None where there is no truth."""
        return self.answer.strip().lower() == self.truth_answer.strip().lower() if self.truth_answer else None


class Curve(TypedDict):
    """Training loss of one task: optimizer steps and the loss at each."""

    step: list[int]
    loss: list[float]


@dataclass
class RunReport:
    """All that the report of a run shows.

    Attributes:
        curves: Loss curve by task.
        efficiency: What answers cost, a row per task.
        facts: By section (model, speed, provenance ...) a table of name and text.
        notes: Sentences that a reader of the numbers needs.
    """

    name: str
    title: str = ""
    rows: list[Row] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    curves: dict[str, Curve] = field(default_factory=dict)
    efficiency: list[Efficiency] = field(default_factory=list)
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class Answer:
    """An answer to a question about a clip.

    Attributes:
        scores: Probability of the best few answers.
        chosen: Start and end in seconds, and weight, of the steps that the answer was made of, where a model chooses.
    """

    question: str
    answer: str
    scores: dict[str, float] = field(default_factory=dict)
    chosen: list[tuple[float, float, float]] = field(default_factory=list)


@dataclass
class Event:
    """Something that happens from `start` to `end`, in seconds.

    Attributes:
        task: Who says so.
        modality: `heard`, `seen`, or `both`.
        name: Its class.
        score: Probability, or None where the task gives none.
    """

    task: str
    modality: Literal["heard", "seen", "both"]
    name: str
    start: float
    end: float
    score: float | None = None


@dataclass
class Result:
    """What the model says about one clip. Arrays may come as tensors on the CPU.

    Attributes:
        source: The media file.
        duration: Length in seconds.
        hop: Seconds per step.
        masks: float32 (T, H, W) at any size, the probability that a pixel shows something sounding.
        class_mask: int (T, H, W) at any size, 0 background, k + 1 for `class_names[k]`.
        captions: T strings.
        events: What is heard, seen or both, and when.
        heat: float32 (T, h, w) at any size, high where the sound comes from.
        waveform: float32 (samples,), mono at `avkit.batch.SAMPLE_RATE`.
        frames: uint8 (T, 3, H, W), one picture per step.
        size: Height and width of the source in pixels; by default that of `frames`, else that of the masks.

    Raises:
        ValueError: If the parts disagree about T, or duration or hop is not positive.
    """

    source: Path
    duration: float
    hop: float
    tasks: list[str]
    masks: Array | None = None
    class_mask: Array | None = None
    class_names: list[str] = field(default_factory=list)
    captions: list[str] | None = None
    answers: list[Answer] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    heat: Array | None = None
    waveform: Array | None = None
    frames: Array | None = None
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not (self.duration > 0 and self.hop > 0):
            raise ValueError(f"Result: duration={self.duration} and hop={self.hop} must be positive seconds.")
        for name in ("masks", "class_mask", "heat", "waveform", "frames"):
            if getattr(self, name) is not None:
                setattr(self, name, np.asarray(getattr(self, name)))
        parts = {name: getattr(self, name) for name in ("frames", "masks", "class_mask", "captions", "heat")}
        counts = {name: len(part) for name, part in parts.items() if part is not None}
        if len(set(counts.values())) > 1:
            raise ValueError(f"Result: the parts have different numbers of steps: {counts}. Cut them to the same T.")
        top = int(self.class_mask.max(initial=0)) if self.class_mask is not None else 0
        if top > len(self.class_names):
            raise ValueError(f"Result: class_mask holds {top}, but class_names has {len(self.class_names)} entries.")
        if self.size is None:
            self.size = next((p.shape[-2:] for p in list(parts.values())[:3] if p is not None), None)
        self.steps = next(iter(counts.values()), math.ceil(self.duration / self.hop - 1e-6))

    def span(self, step: int) -> tuple[float, float]:
        """Start and end of a step in seconds; the last one ends with the clip."""
        end = self.duration if step == self.steps - 1 else (step + 1) * self.hop
        return step * self.hop, max(min(end, self.duration), step * self.hop)

    def lanes(self) -> dict[tuple[str, str], list[Event]]:
        """Events by task and modality, in the order of their first."""
        found: dict[tuple[str, str], list[Event]] = {}
        for event in self.events:
            found.setdefault((event.task, event.modality), []).append(event)
        return found

    def captions_merged(self) -> list[tuple[float, float, str]]:
        """Start, end and text of each caption, equal neighbours as one, empty ones left out."""
        spans: list[tuple[float, float, str]] = []
        previous = ""
        for step, text in enumerate(self.captions or []):
            start, end = self.span(step)
            if text and text == previous:
                spans[-1] = (spans[-1][0], end, text)
            elif text:
                spans.append((start, end, text))
            previous = text
        return spans


def finite(x: float | None) -> float | None:
    """The number itself, or None where it is missing, NaN or infinite."""
    return float(x) if x is not None and math.isfinite(x) else None
