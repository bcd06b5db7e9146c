# SPDX-License-Identifier: Apache-2.0
"""A sample of annotated clips: a clip by itself, or with one of its questions."""

from typing import NamedTuple

from avkit.batch import Targets
from avkit.datasets.annotations import Annotation


class Sample(NamedTuple):
    """A sample of a dataset of clips.

    Attributes:
        clip: Index of its annotation.
        question: Index of its question; None for the clip by itself.
    """

    clip: int
    question: int | None


def sample_id(annotation: Annotation, question: int | None) -> str:
    """Id of a clip, or of one of its questions."""
    if question is None or annotation.questions is None:
        return annotation.id
    return annotation.questions[question].id or f"{annotation.id}#{question + 1}"


def sample_text(annotation: Annotation, question: int | None) -> str | None:
    """The question, or what is said of the clip."""
    if question is None or annotation.questions is None:
        return annotation.text
    return annotation.questions[question].question


def question_targets(annotation: Annotation, question: int | None) -> Targets:
    """Targets of a question; none of a clip by itself."""
    if question is None or annotation.questions is None:
        return {}
    record = annotation.questions[question]
    return {"answer": record.answer, "question_type": record.type, "choices": record.choices}
