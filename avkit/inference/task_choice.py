# SPDX-License-Identifier: Apache-2.0
"""Which tasks of a run predict, and whose answer is shown where there is room for one."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from avkit.answers import Answer
from avkit.errors import unknown_name
from avkit.tasks.base import Task
from avkit.text.tokenizer import split_words


class ChosenTasks(NamedTuple):
    """Tasks to run.

    Attributes:
        names: Their names, each once.
        notes: Sentences about those left out.
    """

    names: list[str]
    notes: list[str]


def choose_tasks(
    run: str, tasks: Mapping[str, Task], wanted: Sequence[str] | str | None, questions: Sequence[str]
) -> ChosenTasks:
    """The tasks of a run that predict.

    Args:
        run: Name of the run, for errors.
        tasks: Its tasks by name.
        wanted: Names, separated by commas or as a list; None or `all` for all of the run, of which those that answer
            questions are left out if there is no question.
        questions: Questions.

    Raises:
        ValueError: If no task is named, one is unknown, a question has no words, or questions and tasks do not fit.
    """
    takes_all = wanted is None or _means_all(wanted)
    names = list(tasks) if wanted is None or takes_all else _split(wanted)
    if not names:
        raise ValueError(f"No task is named. This run has {', '.join(tasks)}.")
    for name in names:
        if name not in tasks:
            raise unknown_name(f"task of run {run}", name, tasks)
    for question in questions:
        _check_words(question)
    answering = [name for name in names if tasks[name].needs_question()]
    if questions and not answering:
        raise _no_task_for_question(run, tasks, names)
    if answering and not questions:
        if not takes_all:
            raise ValueError(
                f"Task {answering[0]!r} needs a question. Add --question '...', or leave {answering[0]} out of --tasks."
            )
        notes = [f"{name} was left out: no question was asked." for name in answering]
        return ChosenTasks([name for name in names if name not in answering], notes)
    return ChosenTasks(names, [])


def choose_stepwise(run: str, tasks: Mapping[str, Task], wanted: Sequence[str] | str | None) -> list[str]:
    """The tasks of a run that predict a stream: those that answer each step on their own.

    Raises:
        ValueError: If one is not of this run or needs the whole video, or none is left.
    """
    stepwise = [name for name, task in tasks.items() if task.stepwise]
    names = stepwise
    if wanted is not None and not _means_all(wanted):
        names = choose_tasks(run, tasks, wanted, []).names
    whole = [name for name in names if name not in stepwise]
    if whole or not names:
        subject = f"Task {whole[0]!r} needs" if whole else "All tasks of this run need"
        raise ValueError(
            f"{subject} the whole video and cannot be streamed. Tasks of this run that answer step by step: "
            f"{', '.join(stepwise) or 'none'}."
        )
    return names


def merge_answers(tasks: Mapping[str, Task], answers: Sequence[Answer]) -> list[Answer]:
    """The answers that a result holds: of an exclusive kind only that of the task which names the kind earliest.

    Of several tasks that name it equally early, the last one's.
    """
    shown: dict[type[Answer], Answer] = {}
    for answer in answers:
        kind = type(answer)
        rival = shown.get(kind)
        if rival is None or _place(tasks, answer) <= _place(tasks, rival):
            shown[kind] = answer
    return [answer for answer in answers if not answer.exclusive or shown[type(answer)] is answer]


def _means_all(wanted: Sequence[str] | str) -> bool:
    return wanted in ("all", ["all"])


def _split(names: Sequence[str] | str) -> list[str]:
    """Names of `a,b` or a list, each once, without empty ones."""
    parts = names.split(",") if isinstance(names, str) else names
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _check_words(question: str) -> None:
    """Raise ValueError unless a question has a word."""
    if not any(letter.isalnum() for letter in question) or not split_words(question):
        raise ValueError(
            f"The question {question!r} has no words. Ask one, such as --question 'how many things make a sound?'."
        )


def _no_task_for_question(run: str, tasks: Mapping[str, Task], names: Sequence[str]) -> ValueError:
    for name, task in tasks.items():
        if task.needs_question():
            return ValueError(
                f"A question was asked, and task {name!r} is not among {', '.join(names)}. Add it, or leave the "
                "question out."
            )
    return ValueError(
        f"A question was asked, and run {run} has no task that answers questions; it has {', '.join(tasks)}. Leave the "
        "question out, or use a run with such a task, for example avqa."
    )


def _place(tasks: Mapping[str, Task], answer: Answer) -> int:
    """Index of the answer's kind among the kinds of its task."""
    return tasks[answer.task].answers.index(type(answer))
