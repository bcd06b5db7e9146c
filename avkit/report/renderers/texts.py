# SPDX-License-Identifier: Apache-2.0
"""How captions, answers to questions, texts and numbers are shown."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from avkit.answers import Caption, Choice, Number, Text
from avkit.answers.encoding import Record
from avkit.report.figure import LETTER, LINE, MAX_LISTED, TIME_INCHES, Theme, TimelineRow, wrap_line
from avkit.report.files import render
from avkit.report.records import Example, Result
from avkit.report.renderers.base import WHITE, YELLOW, ColoredLine, Renderer, Sample
from avkit.report.renderers.looked_at import legend, looked_at, weights_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Inches below which a caption is replaced by its number, with a list below.
_NARROW = 0.85
_MAX_CAPTION_LINES = 12


class CaptionRenderer(Renderer[Caption]):
    """A sentence per step; equal neighbours are shown as one."""

    rank = 4
    terminal_rank = 0

    def subtitle(self, answer: Caption, step: int) -> str:
        """The step's caption."""
        return answer.texts[step]

    def timeline_rows(self, answers: Sequence[Caption], result: Result, theme: Theme) -> list[TimelineRow]:
        """Captions in boxes, or their numbers where one is too narrow."""
        boxes = _caption_boxes(answers[0], result)
        if not boxes:
            return []
        height = LINE * max(len(box.lines) for box in boxes) + 0.3

        def draw(axis: "Axes") -> None:
            for index, box in enumerate(boxes):
                axis.axvspan(box.start, box.end, color=theme["accent"], alpha=(0.2, 0.1)[index % 2], linewidth=0)
                axis.text(
                    (box.start + box.end) / 2,
                    0.5,
                    "\n".join(box.lines),
                    ha="center",
                    va="center",
                    size=8,
                    color=theme["ink"],
                    parse_math=False,
                    clip_on=True,
                )
            axis.set_yticks([])
            axis.set_ylabel("caption")

        return [TimelineRow(height, draw)]

    def timeline_lines(self, answers: Sequence[Caption], result: Result) -> list[str]:
        """The captions by number, if a box is too narrow for its caption."""
        spans = answers[0].spans()
        if not _is_narrow(spans, result):
            return []
        lines: list[str] = []
        for number, (start, end, text) in enumerate(spans[:MAX_LISTED], start=1):
            lines += wrap_line(f"{number}   {_clock(start)} - {_clock(end)}   {text}")
        if len(spans) > MAX_LISTED:
            lines.append(f"and {len(spans) - MAX_LISTED} more, see result.json")
        return lines

    def page_block(self, answers: Sequence[Caption], result: Result) -> str:
        """A table of captions."""
        return render("answers/captions.html.j2", spans=answers[0].spans())

    def terminal_lines(self, answers: Sequence[Caption]) -> list[str]:
        """A line per caption."""
        return [f"{start:5.1f} - {end:5.1f} s  {text}" for start, end, text in answers[0].spans()]

    def step_record(self, answer: Caption, step: int, size: tuple[int, int] | None) -> Record:
        """The step's caption."""
        return {"caption": answer.texts[step]}

    def record(self, answers: Sequence[Caption]) -> Record:
        """Start, end and text of each caption."""
        spans = answers[0].spans()
        return {"captions": [{"start": start, "end": end, "text": text} for start, end, text in spans]}

    def fill_example(self, example: Example, sample: Sample[Caption]) -> None:
        """Predicted and true captions under each frame."""
        example.captions = [sample.predicted.texts[step] for step in sample.steps]
        if sample.true is not None:
            example.truth_captions = [sample.true.texts[step] for step in sample.steps]


class ChoiceRenderer(Renderer[Choice]):
    """Questions and answers."""

    rank = 5
    terminal_rank = 2
    above_timeline = True

    def headline(self, answer: Choice) -> ColoredLine:
        """Question and answer."""
        return [(answer.question, WHITE), (answer.answer, YELLOW)]

    def timeline_lines(self, answers: Sequence[Choice], result: Result) -> list[str]:
        """Questions and answers."""
        lines: list[str] = []
        for answer in answers:
            lines += wrap_line(f"{answer.question}   {answer.answer}")
        return lines

    def timeline_rows(self, answers: Sequence[Choice], result: Result, theme: Theme) -> list[TimelineRow]:
        """The weights of the steps that answers were made of, if the model chooses some."""
        return weights_rows(answers, theme)

    def page_block(self, answers: Sequence[Choice], result: Result) -> str:
        """Questions, answers, the probabilities of the likeliest ones, and the pictures that they were made of."""
        blocks = [(answer, looked_at(answer, result), legend(answer)) for answer in answers]
        return render("answers/choices.html.j2", blocks=blocks)

    def terminal_lines(self, answers: Sequence[Choice]) -> list[str]:
        """A line per question."""
        return [f"{answer.question}  ->  {answer.answer}" for answer in answers]

    def record(self, answers: Sequence[Choice]) -> Record:
        """Question, answer, probabilities and chosen steps."""
        records = []
        for answer in answers:
            chosen = [(step.start, step.end, round(step.weight, 4)) for step in answer.chosen]
            record = {"question": answer.question, "answer": answer.answer, "scores": answer.scores, "chosen": chosen}
            if answer.answer_kind:
                record["kept_to"] = answer.answer_kind
            records.append(record)
        return {"answers": records}

    def drawn_on_frames(self, answer: Choice) -> bool:
        """Parts of pictures glow, if the model looks at some."""
        return answer.region_weights is not None

    def fill_example(self, example: Example, sample: Sample[Choice]) -> None:
        """Question, answer and true answer; which steps were chosen, and what counted in their pictures."""
        predicted = sample.predicted
        example.question = predicted.question
        example.answer = predicted.answer
        if sample.true is not None:
            example.truth_answer = sample.true.answer
            example.note = sample.true.question_type
        if not (predicted.chosen and example.images):
            return
        steps = sample.steps.tolist()
        weights = {chosen.step: chosen.weight for chosen in predicted.chosen}
        example.marks = [f"chosen, weight {weights[step]:.2f}" if step in weights else "" for step in steps]
        example.heats = predicted.region_maps(steps)
        example.heats_mean = "what the answer was made of"
        if sample.silent is not None:
            example.silent_heats = sample.silent.region_maps(steps)


class PlainRenderer(Renderer[Text | Number]):
    """A text or a number about the clip."""

    rank = 6
    terminal_rank = 3
    above_timeline = True

    def text(self, answer: Text | Number) -> str:
        """The answer as text."""
        return answer.text if isinstance(answer, Text) else f"{answer.number:g}"

    def headline(self, answer: Text | Number) -> ColoredLine:
        """The text, or the task and its number."""
        return [(answer.task, WHITE), (self.text(answer), YELLOW)]

    def timeline_lines(self, answers: Sequence[Text | Number], result: Result) -> list[str]:
        """A line per answer."""
        lines: list[str] = []
        for answer in answers:
            lines += wrap_line(f"{answer.task}   {self.text(answer)}")
        return lines

    def page_block(self, answers: Sequence[Text | Number], result: Result) -> str:
        """A block per answer."""
        return render("answers/plain.html.j2", texts=[(answer.task, self.text(answer)) for answer in answers])

    def terminal_lines(self, answers: Sequence[Text | Number]) -> list[str]:
        """A line per answer."""
        return [f"{self.text(answer)}  ({answer.task})" for answer in answers]

    def record(self, answers: Sequence[Text | Number]) -> Record:
        """The answers as JSON."""
        return {"other_answers": [answer.to_json() for answer in answers]}

    def fill_example(self, example: Example, sample: Sample[Text | Number]) -> None:
        """The answer, and the true one if it is known."""
        example.note = f"Predicted: {self.text(sample.predicted)}."
        if sample.true is not None:
            example.note += f" True: {self.text(sample.true)}."


@dataclass
class _CaptionBox:
    """A caption of the timeline, in seconds, and its lines."""

    start: float
    end: float
    lines: list[str]


def _caption_boxes(answer: Caption, result: Result) -> list[_CaptionBox]:
    spans = answer.spans()
    narrow = _is_narrow(spans, result)
    boxes = []
    for number, (start, end, text) in enumerate(spans, start=1):
        letters = max(1, int(_inches(start, end, result) / LETTER) - 1)
        lines = textwrap.wrap(str(number) if narrow else text, letters)
        boxes.append(_CaptionBox(start, end, lines[:_MAX_CAPTION_LINES]))
    return boxes


def _is_narrow(spans: Sequence[tuple[float, float, str]], result: Result) -> bool:
    """Whether a caption has too little room in the timeline."""
    return any(_inches(start, end, result) < _NARROW for start, end, _ in spans)


def _inches(start: float, end: float, result: Result) -> float:
    return (end - start) / result.duration * TIME_INCHES


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"
