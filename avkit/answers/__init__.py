# SPDX-License-Identifier: Apache-2.0
"""Answer kinds: how answers are read from predictions, joined over the windows of a long video, and stored.

A task names the kinds of its answers in `Task.answers`. `avkit.report` says how each kind is drawn and shown.
"""

from avkit.answers.base import Answer, RowsByName, Scope, StepGrid, join_grids
from avkit.answers.events import Event, Events, ModalityLabels, StepLabels, TimedAnswer
from avkit.answers.gates import Gates
from avkit.answers.maps import ClassMask, Heat, Mask, StepMaps
from avkit.answers.prompt_heat import PromptHeat
from avkit.answers.sources import Sources
from avkit.answers.texts import Caption, Choice, ChosenStep, Number, Text
from avkit.answers.values import Values

__all__ = [
    "Answer",
    "Caption",
    "Choice",
    "ChosenStep",
    "ClassMask",
    "Event",
    "Events",
    "Gates",
    "Heat",
    "Mask",
    "ModalityLabels",
    "Number",
    "PromptHeat",
    "RowsByName",
    "Scope",
    "Sources",
    "StepGrid",
    "StepLabels",
    "StepMaps",
    "Text",
    "TimedAnswer",
    "Values",
    "join_grids",
]
