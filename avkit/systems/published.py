# SPDX-License-Identifier: Apache-2.0
"""Stored features that a system was published with, and what a converted checkpoint leaves open."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from avkit.batch import FeatureWidths, Vocabulary

#: Widths of a system that reads pictures and sound.
NO_FEATURES = FeatureWidths()


@dataclass(frozen=True)
class PublishedInputs:
    """Stored features that a system was published with, and recipes of `avkit extract` that make such features.

    Attributes:
        dataset: Dataset of the publication.
        visual: Visual features, streams of the recipes joined by `+`; empty where pictures are read.
        audio: Audio features.
        recipes: Names of the recipes.
        widths: Widths of both.
    """

    dataset: str
    visual: str
    audio: str
    recipes: tuple[str, ...]
    widths: FeatureWidths


@dataclass(frozen=True)
class ConvertedFacts:
    """What a converted checkpoint tells of the run that it would be of.

    Attributes:
        task: The task that it answers.
        options: Options of the system.
        widths: Widths of stored features; 0 for pictures and sound.
        classes: Number of classes, without background.
        answers: Number of answers to questions.
        words: Words of questions in index order.
    """

    task: str
    options: Mapping[str, Any]
    widths: FeatureWidths = NO_FEATURES
    classes: int = 0
    answers: int = 0
    words: tuple[str, ...] = ()

    def vocabulary(self, names: list[str]) -> Vocabulary:
        """Classes and answers under given names; numbered where there are none."""
        classes = names if self.classes and names else [f"class {k}" for k in range(self.classes)]
        answers = names if self.answers and names else [f"answer {k}" for k in range(self.answers)]
        return Vocabulary(classes=classes, answers=answers, words=list(self.words))
