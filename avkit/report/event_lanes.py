# SPDX-License-Identifier: Apache-2.0
"""Found events against true ones over time, a lane per class, and curves, as shares of a clip that a page can draw."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from avkit.answers import Event
from avkit.report.files import seconds
from avkit.report.records import Example

#: Lanes that a page shows.
_MAX_LANES = 24
#: Opacity of the least likely event.
_FAINTEST = 0.35


@dataclass
class Span:
    """A bar of a lane.

    Attributes:
        left: Where it starts, in percent of the clip.
        width: How long it is, in percent.
        opacity: In [0, 1], the likelier the stronger.
        text: What it is, in words.
    """

    left: float
    width: float
    opacity: float
    text: str


@dataclass
class Lane:
    """The events of one class and modality."""

    name: str
    found: list[Span] = field(default_factory=list)
    true: list[Span] = field(default_factory=list)
    beside: list[Span] = field(default_factory=list)


@dataclass
class CurveLane:
    """A curve over time.

    Attributes:
        name: What it is.
        points: Its points as the attribute of an SVG polyline, in a box 100 wide and 10 high.
        text: Its range, in words.
    """

    name: str
    points: str
    text: str


def event_lanes(example: Example) -> list[Lane]:
    """The lanes of an example: classes that are true first, then those that are only found, each by their start."""
    if example.duration <= 0:
        return []
    lanes: dict[str, Lane] = {}
    for event in sorted(example.truth_events or [], key=lambda event: event.start):
        _lane(lanes, event).true.append(_span(event, example.duration, "true"))
    for event in sorted(example.events, key=lambda event: event.start):
        _lane(lanes, event).found.append(_span(event, example.duration, "found"))
    for event in sorted(example.beside_events, key=lambda event: event.start):
        _lane(lanes, event).beside.append(_span(event, example.duration, f"found by {example.beside}"))
    return list(lanes.values())[:_MAX_LANES]


def curve_lanes(example: Example) -> list[CurveLane]:
    """The curves of an example, each on a lane of its own."""
    if example.duration <= 0:
        return []
    lanes = []
    for name, curve in example.curves.items():
        points = []
        for second, value in curve:
            left = 100 * min(max(second / example.duration, 0.0), 1.0)
            points.append(f"{left:.2f},{10 - 10 * min(max(value, 0.0), 1.0):.2f}")
        values = [value for _, value in curve]
        text = f"{name}: {min(values, default=0.0):.2f} to {max(values, default=0.0):.2f}, drawn from 0 to 1"
        lanes.append(CurveLane(name, " ".join(points), text))
    return lanes


def ticks(example: Example) -> Sequence[str]:
    """Times at the quarters of the clip."""
    return [f"{seconds(round(example.duration * part / 4, 1))} s" for part in range(5)]


def _lane(lanes: dict[str, Lane], event: Event) -> Lane:
    name = event.name if event.modality == "both" else f"{event.name}, {event.modality}"
    return lanes.setdefault(name, Lane(name))


def _span(event: Event, duration: float, kind: str) -> Span:
    """A bar; what lies outside of the clip is cut."""
    start = min(max(event.start / duration, 0.0), 1.0)
    end = min(max(event.end / duration, start), 1.0)
    text = f"{kind}: {event.name}, {seconds(event.start)} to {seconds(event.end)} s"
    opacity = 1.0
    if event.score is not None:
        text += f", {100 * event.score:.0f} %"
        opacity = _FAINTEST + (1 - _FAINTEST) * min(max(event.score, 0.0), 1.0)
    return Span(100 * start, 100 * (end - start), opacity, text)
