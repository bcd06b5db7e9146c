# SPDX-License-Identifier: Apache-2.0
"""How scenes are drawn at random: first who is seen and heard, then when, then everything else, independently."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from avkit.errors import unknown_name
from avkit.scenes.draws import Draws
from avkit.scenes.world import (
    BACKGROUNDS,
    CLASSES,
    COLOURS,
    MARGINS,
    PITCHES,
    RHYTHMS,
    SIZES,
    SPLITS,
    Scene,
    Span,
    Thing,
    length,
    overlap,
    place,
)

#: Number of things that are seen and heard, seen and silent, heard and never seen.
Cast = tuple[int, int, int]

#: Where a thing is at time 0, and its velocity.
Path = tuple[tuple[float, float], tuple[float, float]]
_CENTRE: Path = ((0.5, 0.5), (0.0, 0.0))
_HUGE = SIZES.index("huge")

#: How often each cast appears in a ten-second scene, in percent.
CASTS: dict[Cast, int] = {
    (0, 0, 1): 1, (0, 1, 0): 1, (0, 1, 1): 2, (0, 2, 1): 1, (0, 3, 0): 1,
    (1, 0, 0): 1, (1, 0, 1): 2, (1, 0, 2): 1, (1, 1, 0): 8, (1, 1, 1): 12, (1, 2, 0): 16, (1, 2, 1): 20, (1, 3, 0): 11,
    (2, 0, 0): 1, (2, 0, 1): 1, (2, 1, 0): 6, (2, 1, 1): 6, (2, 2, 0): 6, (3, 0, 0): 1, (3, 1, 0): 2,
}  # fmt: skip
_CASTS = list(CASTS)
_CAST_STEPS = [total / sum(CASTS.values()) for total in accumulate(CASTS.values())]


def sample_scene(
    index: int,
    split: str = "train",
    seed: int = 0,
    untrimmed: bool = False,
    close: bool = False,
    hint: Sequence[Cast] | None = None,
    attempt: int = 0,
) -> Scene:
    """Draw the scene `index` of a split.

    Args:
        index: Any number from 0.
        split: One of `SPLITS`; no scene is in two of them.
        seed: Another seed gives another world.
        untrimmed: 20 to 60 s in which things come and go, instead of 10 s with one to four things.
        close: 10 s of two huge things side by side or one above the other, of which one sounds.
        hint: Casts to choose from with equal chance, instead of the usual mixture; nothing else depends on it.
        attempt: Another number gives another scene of the same index, for those who search.

    Raises:
        ValueError: If the split is unknown or a number is negative.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if min(index, seed, attempt) < 0:
        raise ValueError(f"index={index}, seed={seed}, attempt={attempt}: a scene is named by numbers from 0 upwards.")
    draws = Draws(seed, SPLITS.index(split), index, attempt, 2 if close else int(untrimmed))
    if untrimmed:
        duration = draws.integer(20, 61)
        things = _passing_things(draws, duration)
    elif close:
        duration = 10
        things = _close_things(draws)
    else:
        duration = 10
        things = _ten_second_things(draws, _cast(draws, hint))
    grey, contrast = draws.uniform(70, 165), draws.uniform(14, 30)
    dark = (grey + draws.uniform(-18, 18), grey + draws.uniform(-18, 18), grey + draws.uniform(-18, 18))
    return Scene(
        split=split,
        index=index,
        duration=float(duration),
        background=draws.integer(0, len(BACKGROUNDS)),
        tints=(dark, (dark[0] + contrast, dark[1] + contrast, dark[2] + contrast)),
        texture=draws.integer(0, 2**31),
        snr=draws.uniform(15, 30),
        things=tuple(things),
    )


def _cast(draws: Draws, hint: Sequence[Cast] | None) -> Cast:
    if hint is not None:
        return hint[draws.integer(0, len(hint))]
    value = draws.uniform()
    return next(cast for cast, top in zip(_CASTS, _CAST_STEPS, strict=True) if value < top)


def _ten_second_things(draws: Draws, cast: Cast) -> list[Thing]:
    both, silent, unseen = cast
    count = both + silent + unseen
    kinds = draws.sample(len(CLASSES), count)
    colours = [draws.integer(0, len(COLOURS)) for _ in kinds]
    spans = [_seen_and_heard(draws, i < both + silent, i < both or i >= both + silent) for i in range(count)]
    if both and silent and draws.chance(0.2):
        # a silent twin of the first sounding thing: the same class in another colour, seen at the same time
        kinds[both] = kinds[0]
        colours[both] = (colours[0] + draws.integer(1, len(COLOURS))) % len(COLOURS)
        if length(overlap(spans[0][0], spans[both][0])) < 4:
            spans[both] = spans[0][0], ()
    things: list[Thing] = []
    # later things find less room, so the order must not tell who sounds
    for i in draws.sample(count, count):
        things.append(_place(draws, things, kinds[i], colours[i], *spans[i], 10))
    return things


def _seen_and_heard(draws: Draws, seen: bool, heard: bool) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Visible and sounding spans in ten seconds, independent but for two seconds in common if there are both."""
    visible = _whole_seconds(draws) if seen else ()
    sounding = _whole_seconds(draws) if heard else ()
    while seen and heard and length(overlap(visible, sounding)) < 2:
        sounding = _whole_seconds(draws)
    if heard and draws.chance(0.2):
        sounding = _with_pause(draws, sounding, visible)
    return visible, sounding


def _whole_seconds(draws: Draws) -> tuple[Span, ...]:
    """One span of 4 to 10 s, more often than not all ten."""
    seconds = 10 if draws.chance(0.6) else draws.integer(4, 11)
    start = draws.integer(0, 11 - seconds)
    return ((float(start), float(start + seconds)),)


def _with_pause(draws: Draws, spans: tuple[Span, ...], visible: tuple[Span, ...]) -> tuple[Span, ...]:
    """The span with a pause of 1 or 2 s inside, unless too little of it would be left in view."""
    ((start, end),) = spans
    pause = draws.integer(1, 3)
    cut = start + draws.integer(1, int(end - start) - pause)
    paused = ((start, cut), (cut + pause, end))
    return spans if visible and length(overlap(visible, paused)) < 2 else paused


def _close_things(draws: Draws) -> list[Thing]:
    """Two things at opposite sides of the picture, of which the first sounds; either may be in front."""
    kinds, colours = draws.sample(len(CLASSES), 2), draws.sample(len(COLOURS), 2)
    sounding = _whole_seconds(draws)
    across, first = draws.chance(0.5), draws.chance(0.5)
    things = []
    for i in draws.sample(2, 2):
        near = draws.uniform(0.1, 0.18)
        along, aside = (near if first == (i == 0) else 1 - near), draws.uniform(0.42, 0.58)
        thing = _place(draws, [], kinds[i], colours[i], ((0.0, 10.0),), sounding if i == 0 else (), 10)
        things.append(
            replace(thing, size=_HUGE, start=(along, aside) if across else (aside, along), velocity=(0.0, 0.0))
        )
    return things


def _passing_things(draws: Draws, duration: int) -> list[Thing]:
    """About one thing per five seconds, at most four in view at once and each class once."""
    things: list[Thing] = []
    for kind in draws.sample(len(CLASSES), min(len(CLASSES), 2 + duration // 5)):
        visible = _free(things, _tenths(draws, duration, 1 + duration // 20, 4, 14)) if draws.chance(0.85) else ()
        heard = not visible or draws.chance(0.7)
        sounding = _tenths(draws, duration, 2 + duration // 15, 1, 6, visible) if heard else ()
        things.append(_place(draws, things, kind, draws.integer(0, len(COLOURS)), visible, sounding, duration))
    return things


def _tenths(
    draws: Draws, duration: int, count: int, low: int, high: int, near: Sequence[Span] = ()
) -> tuple[Span, ...]:
    """Up to `count` spans of `low` to `high` seconds in whole tenths; most of them begin within the spans `near`."""
    spans: list[Span] = []
    for _ in range(count):
        tenths = draws.integer(10 * low, 10 * high)
        first, last = near[draws.integer(0, len(near))] if near and draws.chance(0.8) else (0.0, float(duration))
        begin = min(draws.integer(round(10 * first), round(10 * last)), 10 * duration - tenths)
        span = (begin / 10, (begin + tenths) / 10)
        # a pause of half a second keeps two spans apart as two events
        if all(span[1] + 0.5 <= s or e + 0.5 <= span[0] for s, e in spans):
            spans.append(span)
    return tuple(sorted(spans))


def _free(things: Sequence[Thing], spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Those spans during which fewer than four things are in view."""
    taken = [s for t in things for s in t.visible]

    def most(span: Span) -> int:
        starts = [span[0]] + [s for s, _ in taken if span[0] <= s < span[1]]
        return max(sum(s <= at < e for s, e in taken) for at in starts)

    return tuple(span for span in spans if most(span) < 4)


def _place(
    draws: Draws,
    others: Sequence[Thing],
    kind: int,
    colour: int,
    visible: tuple[Span, ...],
    sounding: tuple[Span, ...],
    duration: int,
) -> Thing:
    """A thing with every other attribute drawn, on the freest of a few paths."""
    size = draws.integer(0, _HUGE)
    start, velocity = _free_path(draws, others, MARGINS[size], visible, duration) if visible else _CENTRE
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
    """The first of twelve paths that keeps clear of the others, else the one that comes least near to one."""
    rivals: list[tuple[float, float, float, float]] = []
    for at in range(1, duration, 2):
        if _within(at, visible):
            for other in others:
                if _within(at, other.visible):
                    x, y = place(other.start, other.velocity, other.margin, at)
                    rivals.append((float(at), x, y, other.margin + margin))
    best, nearest = _path(draws, margin), -9.0
    for _ in range(12):
        path = _path(draws, margin)
        gap = 9.0
        for moment, x, y, reach in rivals:
            u, v = place(*path, margin, moment)
            gap = min(gap, (u - x) * (u - x) + (v - y) * (v - y) - reach * reach)
            if gap <= nearest:
                break
        if gap > nearest:
            best, nearest = path, gap
        if gap > 0:
            break
    return best


def _path(draws: Draws, margin: float) -> Path:
    """Start and velocity; four in ten rest, the others drift mostly along one axis."""
    start = draws.uniform(margin, 1 - margin), draws.uniform(margin, 1 - margin)
    if draws.chance(0.4):
        return start, (0.0, 0.0)
    speed = draws.uniform(0.03, 0.09) * (1 if draws.chance(0.5) else -1)
    aside = speed * draws.uniform(-0.4, 0.4)
    return start, ((speed, aside) if draws.chance(0.5) else (aside, speed))


def _within(at: float, spans: Sequence[Span]) -> bool:
    return any(start <= at < end for start, end in spans)
