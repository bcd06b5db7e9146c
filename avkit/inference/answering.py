# SPDX-License-Identifier: Apache-2.0
"""The answers of tasks to a whole clip, of any length."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import torch

from avkit.answers import Answer, Scope, StepGrid
from avkit.batch import Batch, Item
from avkit.collate import collate, crop
from avkit.inference.question_kinds import keep_to_kind
from avkit.systems.base import WINDOW, Encoded, join_encoded
from avkit.training.module import AVModel


class Inquiry(NamedTuple):
    """What is asked: a task, and a question where it needs one."""

    task: str
    question: str


#: Answers to an inquiry about a window, one per kind; None of kinds that the model does not give.
WindowAnswers: TypeAlias = Sequence[Answer | None]


def answer_clip(
    model: AVModel,
    item: Item,
    grid: StepGrid,
    inquiries: Sequence[Inquiry],
    device: torch.device,
    *,
    any_answer: bool,
) -> list[Answer]:
    """The answers to all inquiries; encoders run once, window by window.

    What is answered window by window is answered as soon as a window is encoded, and feature maps are kept of the
    whole clip only for tasks that read them there: they are most of the memory that a long video takes.

    Args:
        model: The model.
        item: The clip.
        grid: Its steps.
        inquiries: What is asked.
        device: Where the model is.
        any_answer: Whether answers may be of another kind than their question asks for.
    """
    system = model.system
    parts: dict[Inquiry, list[WindowAnswers]] = {inquiry: [] for inquiry in inquiries}
    by_window = [inquiry for inquiry in parts if system.window(inquiry.task) == WINDOW]
    others = [inquiry for inquiry in parts if inquiry not in by_window]
    needs_maps = any(system.needs_maps(inquiry.task) for inquiry in others)

    def answer(encoded: Encoded, window: StepGrid, inquiry: Inquiry) -> WindowAnswers:
        batch = _batch(item, window, inquiry.task, inquiry.question or None).to(device)
        return _answer(model, batch, encoded, window, inquiry, any_answer=any_answer)

    kept = []
    for window in grid.windows(WINDOW):
        encoded = system.encode(_batch(item, window).to(device))
        for inquiry in by_window:
            parts[inquiry].append(answer(encoded, window, inquiry))
        if others:
            kept.append(encoded if needs_maps else encoded.without_maps())
    if others:
        whole = join_encoded(kept)
        kept.clear()
        for inquiry in others:
            for window in grid.windows(system.window(inquiry.task)):
                parts[inquiry].append(answer(whole.steps(window.indices), window, inquiry))
    answers: list[Answer] = []
    for inquiry in inquiries:
        answers += _join_windows(model.tasks[inquiry.task].answers, parts[inquiry])
    return answers


def _batch(item: Item, window: StepGrid, task: str = "", question: str | None = None) -> Batch:
    """The steps of a window as a batch of one."""
    part = crop(item, window.first, window.steps)
    return collate([replace(part, text=question)], task)


def _answer(
    model: AVModel, batch: Batch, encoded: Encoded, window: StepGrid, inquiry: Inquiry, *, any_answer: bool
) -> WindowAnswers:
    """The answers of each kind to one inquiry about one window."""
    vocabulary = model.vocabulary.of(inquiry.task)
    prediction = model(batch, encoded)
    if inquiry.question and not any_answer:
        prediction = keep_to_kind(prediction, [inquiry.question], vocabulary.answers)
    scope = Scope(inquiry.task, window, vocabulary.classes, vocabulary.answers, inquiry.question)
    return [kind.read(prediction, 0, scope) for kind in model.tasks[inquiry.task].answers]


def _join_windows(kinds: Sequence[type[Answer]], windows: Sequence[WindowAnswers]) -> list[Answer]:
    """Answers of each kind to all windows, joined; without those kinds that the model does not give."""
    answers = []
    for number, kind in enumerate(kinds):
        parts = [window[number] for window in windows]
        present = [part for part in parts if part is not None]
        if present and len(present) == len(parts):
            answers.append(kind.join(present))
    return answers
