# SPDX-License-Identifier: Apache-2.0
"""Stretches of time cut into steps, and joined again: an event that goes on from one step to the next is one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Stretch:
    """A class from one part of a step to another.

    Attributes:
        kind: The class.
        start: First part, counted from the start of the clip.
        end: The part after the last.
    """

    kind: int
    start: int
    end: int


@dataclass
class _Open:
    """An event that goes on, with the probability of its class in its steps so far."""

    stretch: Stretch
    chances: list[float] = field(default_factory=list)


def cut(stretches: Iterable[Stretch], steps: int, parts: int) -> list[list[tuple[int, int, int]]]:
    """What each step has of the stretches, in the order of their classes; those of one class that overlap become one.

    Args:
        stretches: Within the clip.
        steps: Steps of the clip.
        parts: Parts of a step.

    Returns:
        For each step class, start and end of each piece. The start is a part of the step, or `parts` where it goes on
        from the step before; the end is the last part, or `parts` where it goes on into the next step.
    """
    pieces: list[list[tuple[int, int, int]]] = [[] for _ in range(steps)]
    for stretch in _without_overlap(stretches):
        for step in range(stretch.start // parts, (stretch.end - 1) // parts + 1):
            begin = step * parts
            start = stretch.start - begin if stretch.start >= begin else parts
            last = stretch.end - 1 - begin
            pieces[step].append((stretch.kind, start, min(last, parts)))
    return pieces


def _without_overlap(stretches: Iterable[Stretch]) -> list[Stretch]:
    """By class and start, those of one class that overlap as one."""
    joined: list[Stretch] = []
    for stretch in sorted(stretches, key=lambda x: (x.kind, x.start)):
        if joined and joined[-1].kind == stretch.kind and stretch.start < joined[-1].end:
            joined[-1] = replace(joined[-1], end=max(joined[-1].end, stretch.end))
        else:
            joined.append(stretch)
    return joined


def join(
    steps: Sequence[Sequence[tuple[int, ...]]], chances: Sequence[Sequence[float]], parts: int
) -> list[tuple[Stretch, float]]:
    """The stretches of a clip from the pieces of its steps, each with its mean probability.

    A piece that goes on from the step before, where nothing of its class goes on, starts with the step; one that goes
    on into a step without it ends with its own step.

    Args:
        steps: Class, start and end of each piece of each step, see `cut`.
        chances: Probability of each piece.
        parts: Parts of a step.
    """
    done: list[_Open] = []
    going: dict[int, _Open] = {}
    for number, (pieces, scores) in enumerate(zip(steps, chances, strict=True)):
        begin = number * parts
        before = going
        going = {}
        for (kind, start, end), score in zip(pieces, scores, strict=False):
            event = before.pop(kind, None) if start == parts else None
            first = begin + (0 if start == parts else start)
            event = event or _Open(Stretch(kind, first, first))
            last = begin + min(end + 1, parts)
            event.stretch = replace(event.stretch, end=last)
            event.chances.append(score)
            if end == parts:
                going[kind] = event
            else:
                done.append(event)
        done += before.values()
    done += going.values()
    return [(event.stretch, sum(event.chances) / len(event.chances)) for event in done]
