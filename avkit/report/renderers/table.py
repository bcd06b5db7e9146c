# SPDX-License-Identifier: Apache-2.0
"""The renderer of each kind of answer."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from avkit.answers import (
    Answer,
    Caption,
    Choice,
    ClassMask,
    Gates,
    Heat,
    Mask,
    Number,
    PromptHeat,
    Sources,
    Text,
    TimedAnswer,
)
from avkit.report.images import Labels
from avkit.report.records import Result
from avkit.report.renderers.base import Renderer
from avkit.report.renderers.events import EventsRenderer
from avkit.report.renderers.fallback import JSONRenderer
from avkit.report.renderers.gates import GatesRenderer
from avkit.report.renderers.maps import ClassMaskRenderer, HeatRenderer, MaskRenderer
from avkit.report.renderers.prompt_heat import PromptHeatRenderer
from avkit.report.renderers.sources import SourcesRenderer
from avkit.report.renderers.texts import CaptionRenderer, ChoiceRenderer, PlainRenderer

A = TypeVar("A", bound=Answer)

MASKS = MaskRenderer()
_PLAIN = PlainRenderer()
_DEFAULT: JSONRenderer[Answer] = JSONRenderer()

#: Renderer by kind. A kind without one has that of its nearest base class, else `JSONRenderer`.
RENDERERS: dict[type, Renderer[Any]] = {
    Mask: MASKS,
    ClassMask: ClassMaskRenderer(),
    Sources: SourcesRenderer(),
    Heat: HeatRenderer(),
    TimedAnswer: EventsRenderer(),
    Gates: GatesRenderer(),
    Caption: CaptionRenderer(),
    Choice: ChoiceRenderer(),
    PromptHeat: PromptHeatRenderer(),
    Text: _PLAIN,
    Number: _PLAIN,
}


def register(kind: type[A], renderer: Renderer[A]) -> None:
    """Show a kind of answer by a renderer; replaces the kind's former one. For kinds from outside avkit."""
    RENDERERS[kind] = renderer


def find_renderer(kind: type[Answer]) -> Renderer[Any]:
    """The renderer of a kind."""
    for base in kind.__mro__:
        if base in RENDERERS:
            return RENDERERS[base]
    return _DEFAULT


def all_renderers() -> list[Renderer[Any]]:
    """Every renderer once, by rank."""
    renderers = list(dict.fromkeys([*RENDERERS.values(), _DEFAULT]))
    return sorted(renderers, key=lambda renderer: renderer.rank)


def group_answers(answers: Sequence[Answer]) -> list[tuple[Renderer[Any], list[Answer]]]:
    """Answers with their renderer, by its rank; within a renderer their order stays."""
    groups: dict[Renderer[Any], list[Answer]] = {}
    for answer in answers:
        groups.setdefault(find_renderer(type(answer)), []).append(answer)
    return sorted(groups.items(), key=lambda group: group[0].rank)


class Regions(NamedTuple):
    """Regions of one frame.

    Attributes:
        labels: Integers (H, W), 0 for none.
        names: Names of the regions 1, 2, ...; empty if they have none.
        sentences: What is said of each of them; empty if nothing is said of regions.
    """

    labels: Labels
    names: Sequence[str]
    sentences: Sequence[str] = ()

    def present(self) -> list[int]:
        """The named regions that the frame has."""
        if not self.names:
            return []
        return [int(k) for k in np.unique(self.labels) if k]


def step_regions(result: Result, step: int, size: tuple[int, int]) -> Regions | None:
    """What is tinted in a frame of a step: classes if they are known, else what sounds; None if nothing is."""
    for renderer, answers in reversed(group_answers(result.answers)):
        for answer in answers:
            labels = renderer.regions(answer, step, size)
            if labels is not None:
                return Regions(labels, renderer.region_names(answer), renderer.region_sentences(answer, step))
    return None


def frame_legends(result: Result) -> list[str]:
    """What is drawn on frames, each sentence once; of renderers with regions only that which is drawn is named."""
    groups = group_answers(result.answers)
    with_regions = [renderer for renderer, answers in groups if renderer.area(answers[0]) is not None]
    not_drawn = with_regions[:-1]
    legends = [renderer.legend for renderer, _ in groups if renderer.legend and renderer not in not_drawn]
    return list(dict.fromkeys(legends))


def step_subtitle(result: Result, step: int) -> str:
    """What is written under the frames of a step."""
    texts = []
    for renderer, answers in group_answers(result.answers):
        texts += [renderer.subtitle(answer, step) for answer in answers]
    return "; ".join(text for text in texts if text)


def step_glow(result: Result, step: int) -> NDArray[Any] | None:
    """The heat map (h, w) that is drawn on the frame of a step, None if there is none."""
    for renderer, answers in group_answers(result.answers):
        for answer in answers:
            heat = renderer.glow(answer, step)
            if heat is not None:
                return heat
    return None


def sounding_area(result: Result) -> NDArray[np.float64] | None:
    """Share of the picture that sounds in each step, (T,) in [0, 1]; None if there are no masks."""
    for renderer, answers in group_answers(result.answers):
        for answer in answers:
            area = renderer.area(answer)
            if area is not None:
                return area
    return None
