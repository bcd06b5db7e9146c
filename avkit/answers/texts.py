# SPDX-License-Identifier: Apache-2.0
"""Answers in words and numbers: captions, answers to questions, a text, a number."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avkit.answers.base import Answer, RowsByName, Scope, StepGrid, join_grids
from avkit.answers.encoding import Record

#: Answers to a question whose probability is kept.
_KEPT_ANSWERS = 5


@dataclass(eq=False)
class Caption(Answer):
    """A sentence per step.

    Attributes:
        texts: T sentences; empty where there is none.
        grid: The steps.
    """

    kind: ClassVar[str] = "caption"
    prediction_values: ClassVar[tuple[str, ...]] = ("caption",)
    target_fields: ClassVar[tuple[str, ...]] = ("caption",)
    exclusive: ClassVar[bool] = True

    texts: list[str]
    grid: StepGrid

    @classmethod
    def from_values(cls, values: RowsByName, row: int, scope: Scope) -> "Caption":
        """The captions of one row."""
        return cls(scope.task, list(values["caption"][row][: scope.grid.steps]), scope.grid)

    @classmethod
    def from_targets(cls, targets: RowsByName, row: int, scope: Scope) -> "Caption":
        """The true captions of one sample."""
        return cls.from_values(targets, row, scope)

    @classmethod
    def join(cls, parts: Sequence["Caption"]) -> "Caption":
        """The captions of all windows."""
        texts: list[str] = []
        for part in parts:
            texts += part.texts
        return cls(parts[0].task, texts, join_grids([part.grid for part in parts]))

    @classmethod
    def from_json(cls, record: Record) -> "Caption":
        """The answer that `to_json` wrote."""
        return cls(record["task"], list(record["texts"]), StepGrid(**record["grid"]))

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return len(self.texts)

    def spans(self) -> list[tuple[float, float, str]]:
        """Start and end in seconds, and text, of each caption; equal neighbours as one, empty ones left out."""
        return text_spans(self.texts, self.grid)


def text_spans(texts: Sequence[str], grid: StepGrid) -> list[tuple[float, float, str]]:
    """Start and end in seconds, and text, of the texts of steps; equal neighbours as one, empty ones left out."""
    spans: list[tuple[float, float, str]] = []
    previous = ""
    for step, text in enumerate(texts):
        start, end = grid.span(step)
        if text and text == previous:
            spans[-1] = (spans[-1][0], end, text)
        elif text:
            spans.append((start, end, text))
        previous = text
    return spans


@dataclass(frozen=True)
class ChosenStep:
    """A step that an answer was made of.

    Attributes:
        step: Its index in the clip.
        start: Seconds.
        end: Seconds.
        weight: How much it counted.
    """

    step: int
    start: float
    end: float
    weight: float


@dataclass(eq=False)
class Choice(Answer):
    """An answer to a question, chosen out of some.

    Attributes:
        question: The question.
        answer: The answer.
        scores: Probabilities of the likeliest answers, rounded to four digits, by descending probability.
        chosen: The steps that the answer was made of, if the model chooses some.
        region_steps: Indices of the steps whose pictures the model looked at in parts, if it does.
        region_weights: How much each part of these pictures counted, (steps, parts).
        region_sources: Which part each patch of these pictures belongs to, (steps, h, w), where parts are merged tokens
            and that is known.
        question_type: Type of the question in the dataset; of true answers alone.
        answer_kind: The kind that the answer was kept to, such as `yes or no`; empty if to none.
    """

    kind: ClassVar[str] = "choice"
    prediction_values: ClassVar[tuple[str, ...]] = ("answer", "answer_logits")
    target_fields: ClassVar[tuple[str, ...]] = ("answer", "question_type")
    needs_question: ClassVar[bool] = True

    question: str
    answer: str
    scores: dict[str, float] = field(default_factory=dict)
    chosen: list[ChosenStep] = field(default_factory=list)
    region_steps: list[int] = field(default_factory=list)
    region_weights: NDArray[Any] | None = None
    region_sources: NDArray[Any] | None = None
    question_type: str = ""
    answer_kind: str = ""

    @classmethod
    def from_values(cls, values: RowsByName, row: int, scope: Scope) -> "Choice":
        """The answer of one row."""
        choice = cls(scope.task, scope.question, values["answer"][row])
        choice.scores = _best_scores(values["answer_logits"][row], scope.answers)
        choice.answer_kind = values["answer_kind"][row] if "answer_kind" in values else ""
        if "chosen" in values:
            weights = values["step_weights"][row].tolist()
            choice.chosen = [_chosen_step(scope.grid, step, weights[step]) for step in values["chosen"][row].tolist()]
        if "parts" in values:
            choice.region_steps = [scope.grid.first + step for step in values["shown"][row].tolist()]
            choice.region_weights = values["parts"][row].detach().cpu().numpy()
        if "part_sources" in values:
            choice.region_sources = values["part_sources"][row].detach().cpu().numpy()
        return choice

    @classmethod
    def from_targets(cls, targets: RowsByName, row: int, scope: Scope) -> "Choice":
        """The true answer to one question."""
        question_type = targets["question_type"][row]
        return cls(scope.task, scope.question, targets["answer"][row], question_type=question_type)

    @classmethod
    def join(cls, parts: Sequence["Choice"]) -> "Choice":
        """The answer with the highest mean probability over the windows, with the windows' chosen steps."""
        if len(parts) == 1:
            return parts[0]
        totals: dict[str, float] = {}
        for part in parts:
            for answer, score in part.scores.items():
                totals[answer] = totals.get(answer, 0.0) + score
        best = sorted(totals, key=lambda answer: -totals[answer])[:_KEPT_ANSWERS]
        joined = cls(parts[0].task, parts[0].question, best[0])
        joined.answer_kind = parts[0].answer_kind
        joined.scores = {answer: round(totals[answer] / len(parts), 4) for answer in best}
        regions = []
        sources = []
        for part in parts:
            joined.chosen += part.chosen
            joined.region_steps += part.region_steps
            if part.region_weights is not None:
                regions.append(part.region_weights)
            if part.region_sources is not None:
                sources.append(part.region_sources)
        if regions:
            joined.region_weights = np.concatenate(regions)
        if sources and len(sources) == len(regions):
            joined.region_sources = np.concatenate(sources)
        return joined

    @classmethod
    def from_json(cls, record: Record) -> "Choice":
        """The answer that `to_json` wrote."""
        return super().from_json({**record, "chosen": [ChosenStep(**step) for step in record["chosen"]]})

    def key_steps(self) -> list[int]:
        """The chosen steps."""
        return [chosen.step for chosen in self.chosen]

    def region_maps(self, steps: Sequence[int]) -> NDArray[Any] | None:
        """How much each part of the pictures of some steps counted, (steps, h, w); NaN where none was looked at.

        None if there are no parts, or they form no square grid and it is not known which patches they are of.
        """
        pictures = self._region_pictures()
        if pictures is None:
            return None
        maps = np.full((len(steps), *pictures.shape[1:]), np.nan, np.float32)
        for step, weights in zip(self.region_steps, pictures, strict=True):
            for place in np.flatnonzero(np.asarray(steps) == step):
                maps[place] = weights
        return maps

    def _region_pictures(self) -> NDArray[Any] | None:
        """The weights of the parts of each picture at their places, (steps, h, w)."""
        if self.region_weights is None:
            return None
        count, parts = self.region_weights.shape
        if self.region_sources is not None:
            sources = self.region_sources.reshape(count, -1).astype(np.int64)
            weights = np.take_along_axis(self.region_weights, sources, 1)
            return weights.reshape(self.region_sources.shape)
        side = round(parts**0.5)
        return self.region_weights.reshape(count, side, side) if side * side == parts else None


@dataclass(eq=False)
class Text(Answer):
    """A text about the clip as a whole.

    Attributes:
        text: The text.
    """

    kind: ClassVar[str] = "text"
    prediction_values: ClassVar[tuple[str, ...]] = ("text",)

    text: str

    @classmethod
    def from_values(cls, values: RowsByName, row: int, scope: Scope) -> "Text":
        """The text of one row."""
        return cls(scope.task, str(values["text"][row]))

    @classmethod
    def join(cls, parts: Sequence["Text"]) -> "Text":
        """The texts of all windows, equal ones once."""
        texts = dict.fromkeys(part.text for part in parts)
        return cls(parts[0].task, " ".join(texts))


@dataclass(eq=False)
class Number(Answer):
    """A number about the clip as a whole.

    Attributes:
        number: The number.
    """

    kind: ClassVar[str] = "number"
    prediction_values: ClassVar[tuple[str, ...]] = ("number",)

    number: float

    @classmethod
    def from_values(cls, values: RowsByName, row: int, scope: Scope) -> "Number":
        """The number of one row."""
        return cls(scope.task, float(values["number"][row]))

    @classmethod
    def join(cls, parts: Sequence["Number"]) -> "Number":
        """The mean over the windows."""
        return cls(parts[0].task, sum(part.number for part in parts) / len(parts))


def _best_scores(logits: Tensor, answers: Sequence[str]) -> dict[str, float]:
    """Probabilities of the likeliest answers, from logits (answers,)."""
    probabilities = logits.softmax(-1).cpu()
    best = probabilities.topk(min(_KEPT_ANSWERS, len(probabilities)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    possible = logits.cpu() > -torch.inf
    return {answers[index]: round(probability, 4) for index, probability in pairs if possible[index]}


def _chosen_step(grid: StepGrid, step: int, weight: float) -> ChosenStep:
    index = grid.first + step
    return ChosenStep(index, index * grid.hop, (index + 1) * grid.hop, weight)
