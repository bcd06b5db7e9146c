# SPDX-License-Identifier: Apache-2.0
"""Sentences that a reader of a run's answers needs."""

from collections.abc import Sequence

from avkit.text.tokenizer import split_words
from avkit.training.module import AVModel


def notes_of(model: AVModel, tasks: Sequence[str], questions: Sequence[str]) -> list[str]:
    """How tasks were answered, and which words of the questions the run never saw."""
    notes: list[str] = []
    for name in tasks:
        if model.tasks[name].needs_question():
            notes += _unknown_words(model, questions)
        notes += model.system.notes(name)
    return notes


def _unknown_words(model: AVModel, questions: Sequence[str]) -> list[str]:
    """A note for each question with words outside the vocabulary, unless the text encoder reads any word."""
    if model.system.reads_any_word:
        return []
    vocabulary = {word.lower() for word in model.vocabulary.words}
    notes = []
    for question in questions:
        words = [word for word in dict.fromkeys(split_words(question)) if word.isalnum()]
        unknown = [word for word in words if word not in vocabulary]
        if unknown:
            notes.append(f"The run never saw these words of {question!r}: {', '.join(unknown)}.")
    return notes
