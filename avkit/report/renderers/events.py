# SPDX-License-Identifier: Apache-2.0
"""How events are shown: bars over time, a table per task and modality."""

import zlib
from collections.abc import Sequence

from avkit.answers import Event, TimedAnswer
from avkit.answers.encoding import Record
from avkit.report.figure import MAX_LISTED, Bar, Theme, TimelineRow, bars_row
from avkit.report.files import render
from avkit.report.records import Example, Result
from avkit.report.renderers.base import Renderer, Sample

#: Colours of the palette that events use, each class always the same one.
_COLORS = 24


class EventsRenderer(Renderer[TimedAnswer]):
    """Events of any task, and labels per step told as events."""

    rank = 3
    terminal_rank = 1

    def timeline_rows(self, answers: Sequence[TimedAnswer], result: Result, theme: Theme) -> list[TimelineRow]:
        """A row per task and modality, in it a line per class."""
        return [lane_row(task, modality, events) for (task, modality), events in lanes(answers).items()]

    def page_block(self, answers: Sequence[TimedAnswer], result: Result) -> str:
        """A table per task and modality."""
        return render("answers/events.html.j2", lanes=lanes(answers))

    def terminal_lines(self, answers: Sequence[TimedAnswer]) -> list[str]:
        """A line per event."""
        lines = []
        for event in all_events(answers):
            lines.append(f"{event.start:5.1f} - {event.end:5.1f} s  {event.modality}: {event.name}  ({event.task})")
        return lines

    def record(self, answers: Sequence[TimedAnswer]) -> Record:
        """All events."""
        return {"events": all_events(answers)}

    def fill_example(self, example: Example, sample: Sample[TimedAnswer]) -> None:
        """Predicted and true events over time, and the labels of steps under each frame."""
        example.events = sample.predicted.events()
        example.truth_events = None if sample.true is None else sample.true.events()
        if sample.beside is not None:
            example.beside_events = sample.beside.events()
        texts = sample.predicted.step_texts()
        if texts is None:
            return
        example.captions = [texts[step] for step in sample.steps]
        true_texts = None if sample.true is None else sample.true.step_texts()
        if true_texts is not None:
            example.truth_captions = [true_texts[step] for step in sample.steps]


def all_events(answers: Sequence[TimedAnswer]) -> list[Event]:
    """The events of all answers, in order of the answers."""
    events: list[Event] = []
    for answer in answers:
        events += answer.events()
    return events


def lanes(answers: Sequence[TimedAnswer]) -> dict[tuple[str, str], list[Event]]:
    """Events by task and modality, in the order of their first."""
    by_lane: dict[tuple[str, str], list[Event]] = {}
    for event in all_events(answers):
        by_lane.setdefault((event.task, event.modality), []).append(event)
    return by_lane


def lane_row(task: str, modality: str, events: Sequence[Event]) -> TimelineRow:
    """Events of one task and modality, a line per class; the likelier, the stronger."""
    names = list(dict.fromkeys(event.name for event in events))[:MAX_LISTED]
    bars = []
    for event in events:
        if event.name in names:
            color = 1 + zlib.crc32(event.name.encode()) % _COLORS
            alpha = 0.9 if event.score is None else 0.25 + 0.65 * event.score
            span = (event.start, event.end - event.start)
            bars.append(Bar(names.index(event.name), [span], color, alpha))
    return bars_row(names, bars, f"{task}\n{modality}", min_height=0.5)
