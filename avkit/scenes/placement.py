# SPDX-License-Identifier: Apache-2.0
"""Random attributes and a free path for a thing whose class and spans are given."""

from collections.abc import Sequence

from avkit.scenes.draws import Draws
from avkit.scenes.world import COLOURS, MARGINS, PITCHES, RHYTHMS, SIZES, Span, Thing, position

HUGE = SIZES.index("huge")

#: Position at time 0, and velocity.
Path = tuple[tuple[float, float], tuple[float, float]]
_CENTRE: Path = ((0.5, 0.5), (0.0, 0.0))


def random_colour(draws: Draws) -> int:
    """Index into `COLOURS`."""
    return draws.integer(0, len(COLOURS))


def place_thing(
    draws: Draws,
    others: Sequence[Thing],
    kind: int,
    colour: int,
    visible: tuple[Span, ...],
    sounding: tuple[Span, ...],
    duration: int,
) -> Thing:
    """Draw the other attributes of a thing, and a path that keeps away from the things placed before.

    Args:
        draws: Source of random numbers.
        others: Things placed before.
        kind: Index into `CLASSES`.
        colour: Index into `COLOURS`.
        visible: Spans in which it is in view.
        sounding: Spans in which it sounds.
        duration: Of the scene, in whole seconds.
    """
    size = draws.integer(0, HUGE)
    start, velocity = _CENTRE
    if visible:
        start, velocity = _free_path(draws, others, MARGINS[size], visible, duration)
    return Thing(
        kind=kind,
        colour=colour,
        size=size,
        pitch=draws.integer(0, len(PITCHES)),
        rhythm=draws.integer(0, len(RHYTHMS)),
        gain=draws.uniform(0.5, 1.0),
        phase=draws.integer(0, 20),
        start=start,
        velocity=velocity,
        visible=visible,
        sounding=sounding,
        loudness=tuple([draws.uniform(0.35, 1.0) for _ in range(duration)]),
    )


def _free_path(draws: Draws, others: Sequence[Thing], margin: float, visible: Sequence[Span], duration: int) -> Path:
    """The first of twelve paths that keeps clear of the others, else the one with the largest smallest distance."""
    obstacles = _obstacles(others, margin, visible, duration)
    best = _random_path(draws, margin)
    best_gap = -9.0
    for _ in range(12):
        path = _random_path(draws, margin)
        gap = 9.0
        for moment, x, y, distance in obstacles:
            u, v = position(*path, margin, moment)
            gap = min(gap, (u - x) * (u - x) + (v - y) * (v - y) - distance * distance)
            if gap <= best_gap:
                break
        if gap > best_gap:
            best = path
            best_gap = gap
        if gap > 0:
            break
    return best


def _obstacles(
    others: Sequence[Thing], margin: float, visible: Sequence[Span], duration: int
) -> list[tuple[float, float, float, float]]:
    """Every other second: time, x and y of each other thing in view, and the distance to keep from it."""
    obstacles = []
    for moment in range(1, duration, 2):
        if not _within(moment, visible):
            continue
        for other in others:
            if _within(moment, other.visible):
                x, y = position(other.start, other.velocity, other.margin, moment)
                obstacles.append((float(moment), x, y, other.margin + margin))
    return obstacles


def _random_path(draws: Draws, margin: float) -> Path:
    """Start and velocity; four in ten rest, the others drift mostly along one axis."""
    start = draws.uniform(margin, 1 - margin), draws.uniform(margin, 1 - margin)
    if draws.chance(0.4):
        return start, (0.0, 0.0)
    speed = draws.uniform(0.03, 0.09) * (1 if draws.chance(0.5) else -1)
    aside = speed * draws.uniform(-0.4, 0.4)
    return start, ((speed, aside) if draws.chance(0.5) else (aside, speed))


def _within(moment: float, spans: Sequence[Span]) -> bool:
    return any(start <= moment < end for start, end in spans)
