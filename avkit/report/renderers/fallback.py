# SPDX-License-Identifier: Apache-2.0
"""How answers of an unknown kind are shown: as JSON."""

import json
from collections.abc import Sequence

from avkit.answers import Answer
from avkit.answers.encoding import Record, shorten
from avkit.report.figure import wrap_line
from avkit.report.files import plain, render
from avkit.report.records import Example, Result
from avkit.report.renderers.base import A, Renderer, Sample

#: Letters of an answer that are shown; all of it is in result.json.
_MAX_LETTERS = 500


class JSONRenderer(Renderer[A]):
    """Answers of any kind, as JSON."""

    def timeline_lines(self, answers: Sequence[A], result: Result) -> list[str]:
        """The task and its answer."""
        lines: list[str] = []
        for answer in answers:
            lines += wrap_line(f"{answer.task}   {json_text(answer)}")
        return lines

    def page_block(self, answers: Sequence[A], result: Result) -> str:
        """The task and its answer."""
        texts = [(answer.task, answer.kind, json_text(answer)) for answer in answers]
        return render("answers/json.html.j2", texts=texts)

    def terminal_lines(self, answers: Sequence[A]) -> list[str]:
        """A line per answer."""
        return [f"{json_text(answer)}  ({answer.task})" for answer in answers]

    def record(self, answers: Sequence[A]) -> Record:
        """The answers with all they hold."""
        return {"other_answers": [answer.to_json() for answer in answers]}

    def fill_example(self, example: Example, sample: Sample[A]) -> None:
        """The answer, and the true one if it is known."""
        example.note = f"Predicted: {json_text(sample.predicted)}."
        if sample.true is not None:
            example.note += f" True: {json_text(sample.true)}."


def json_text(answer: Answer) -> str:
    """What an answer holds, as a line of JSON for people to read: arrays as type and shape, long texts cut."""
    record = answer.to_json()
    content = {name: value for name, value in record.items() if name not in ("kind", "task")}
    text = json.dumps(plain(shorten(content)), ensure_ascii=False)
    if len(text) > _MAX_LETTERS:
        return text[:_MAX_LETTERS] + "..."
    return text
