# SPDX-License-Identifier: Apache-2.0
"""Answers to questions: result files of MUSIC-AVQA's and TSPM's tests, and JSON with answers in words or by number."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from avkit.errors import DataError, FileError, file_error
from avkit.reading.lines import iterate_lines
from avkit.reading.text import parse_json, read_json
from avkit.scoring.formats.base import Format
from avkit.scoring.formats.heads import file_head
from avkit.scoring.predictions import PlacedRecord
from avkit.scoring.truth import Truth

#: Question, whether the answer is right, true and given answer by number.
_RESULT_LINE = re.compile(r"(\S+)\s+(True|False)\s+(\S+)\s+(\S+)")
#: A choice by its letter.
_LETTER = re.compile(r"[A-Da-d][.)]?")
_ID_KEYS = ("question_id", "id", "questionId", "qid")
_ANSWER_KEYS = ("answer", "prediction", "predicted_answer", "pred_answer", "pred", "response", "output", "anser")
_FORM = 'Give [{"question_id": 12, "answer": "one"}, ...], {"12": "one", ...}, or an object of JSON a line.'


class ResultLines(Format):
    """Lines `question, True or False, true answer, given answer`, answers by their number in the train file."""

    name = "tspm"
    title = "result file of TSPM: question id, right or not, numbers of the true and of the given answer"
    tasks: ClassVar[tuple[str, ...]] = ("avqa",)

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Whether the first line is of this form."""
        return _RESULT_LINE.fullmatch(file_head(path).partition("\n")[0]) is not None

    @classmethod
    def read(cls, path: Path, truth: Truth) -> Iterator[PlacedRecord | FileError]:
        """The given answers; what a line says of the true one is compared with the annotation."""
        answers = Answers(truth)
        for number, text in iterate_lines(path):
            where = f"{path}, line {number}"
            line = _RESULT_LINE.fullmatch(text)
            if line is None:
                yield file_error(
                    where, f"is {text[:60]!r}", "Give question id, True or False, true and given answer by number."
                )
                continue
            name, right, true, given = line.groups()
            try:
                answer = answers.numbered(_whole(given, where), name, where)
                own_truth = answers.numbered(_whole(true, where), name, where)
                answers.check_truth(name, own_truth, where)
                if (right == "True") != (given == true):
                    raise file_error(where, f"says {right} of answer {given} where {true} is true", "Look at the file.")
            except DataError as error:
                yield FileError(str(error))
            else:
                yield PlacedRecord(where, {"id": name, "answer": answer})


class AnswersJson(Format):
    """JSON with an answer for each question, in words or by number: a list, an object by question, or lines."""

    name = "answers"
    title = "JSON of answers by question id, in words or by number (of the answer, or of the question's choice)"
    tasks: ClassVar[tuple[str, ...]] = ("avqa",)

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Whether it is JSON that is not of avkit."""
        head = file_head(path)
        return head.startswith(("{", "[")) and not ('"task"' in head and '"dataset"' in head)

    @classmethod
    def read(cls, path: Path, truth: Truth) -> Iterator[PlacedRecord | FileError]:
        """The answers in the order of the file."""
        answers = Answers(truth)
        for where, name, value in _entries(path):
            if isinstance(value, FileError):
                yield value
                continue
            try:
                yield PlacedRecord(where, {"id": name, "answer": answers.find(value, name, where)})
            except DataError as error:
                yield FileError(str(error))


class Answers:
    """The answers of a dataset, found by what people write.

    Args:
        truth: The questions.
    """

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self._answers: Sequence[str] = truth.task.vocabulary.answers
        self._by_letters = {_letters(answer): answer for answer in self._answers}
        self._ids = set(truth.ids)
        self._has_choices = "choices" in truth.fields

    def find(self, value: Any, name: str, where: str) -> str:
        """The answer that is meant, by number or in words; words that are no answer stay as they are, and are wrong.

        Raises:
            FileError: If it is neither text nor whole number, or a number that no answer has.
        """
        if isinstance(value, int) and not isinstance(value, bool):
            return self.numbered(value, name, where)
        if not isinstance(value, str):
            raise file_error(where, f"has {str(value)[:40]!r} as answer, no text and no whole number", _FORM)
        text = value.strip()
        if text in self._answers:
            return text
        choices = self._choices(name)
        choice = next((choice for choice in choices if _letters(choice) == _letters(text)), None)
        if choice is not None:
            return choice
        if choices and _LETTER.fullmatch(text):
            return self.numbered("abcd".index(text[0].lower()), name, where)
        if text.isdecimal() and _letters(text) not in self._by_letters:
            raise file_error(
                where,
                f"has the text {text!r} as answer, which may be a number of an answer or a count",
                "Write counts in words, and numbers of answers without quotes.",
            )
        return self._by_letters.get(_letters(text), text)

    def numbered(self, number: int, name: str, where: str) -> str:
        """The answer of a number: of the question's choices where it has some, else of the vocabulary.

        Raises:
            FileError: If there is none.
        """
        choices = self._choices(name) or self._answers
        if not 0 <= number < len(choices):
            raise file_error(where, f"has answer {number}", f"Answers are 0 to {len(choices) - 1}.")
        return choices[number]

    def check_truth(self, name: str, answer: str, where: str) -> None:
        """Compare what a file says of the true answer with the annotation.

        Raises:
            FileError: If they differ, as those of two releases do.
        """
        if name not in self._ids:
            return
        true = self.truth.item(name, "answer").targets["answer"]
        if true != answer:
            raise file_error(
                where,
                f"says that {answer!r} is the true answer to question {name}, and the annotation says {true!r}",
                f"Give the release that the file is of; this is {self.truth.release!r}.",
            )

    def _choices(self, name: str) -> Sequence[str]:
        if not self._has_choices or name not in self._ids:
            return ()
        choices: Sequence[str] = self.truth.item(name, "choices").targets["choices"] or ()
        return choices


def _letters(text: str) -> str:
    """A text without case, blanks, underscores and full stops."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _whole(text: str, where: str) -> int:
    if not text.isdecimal():
        raise file_error(where, f"has {text[:20]!r} as number of an answer", "Give whole numbers from 0.")
    return int(text[:9])


def _entries(path: Path) -> Iterator[tuple[str, str, Any]]:
    """Place, question and answer of each entry; an error in place of the answer where it has none."""
    if path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson")):
        for number, text in iterate_lines(path):
            where = f"{path}, line {number}"
            try:
                yield (where, *_parts(parse_json(text, where, finite=False), where))
            except FileError as error:
                yield where, "", error
        return
    content = read_json(path, finite=False)
    for key in ("results", "predictions", "answers"):
        if isinstance(content, dict) and isinstance(content.get(key), dict | list):
            content = content[key]
    if isinstance(content, dict):
        for name, value in content.items():
            where = f"{path}, question {name[:40]!r}"
            yield where, name, _answer_of(value) if isinstance(value, dict) else value
        return
    if not isinstance(content, list):
        raise file_error(path, "is no list and no object of JSON", _FORM)
    for number, entry in enumerate(content):
        where = f"{path}, entry {number}"
        try:
            yield (where, *_parts(entry, where))
        except FileError as error:
            yield where, "", error


def _parts(entry: Any, where: str) -> tuple[str, Any]:
    """Question and answer of an entry."""
    if isinstance(entry, Mapping):
        for key in _ID_KEYS:
            name = entry.get(key)
            if isinstance(name, str | int) and not isinstance(name, bool):
                return str(name), _answer_of(entry)
    raise file_error(where, f"is {str(entry)[:60]!r}, without the id of a question", _FORM)


def _answer_of(entry: Mapping[str, Any]) -> Any:
    return next((entry[key] for key in _ANSWER_KEYS if key in entry), None)
