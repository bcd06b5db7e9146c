# SPDX-License-Identifier: Apache-2.0
"""Random scenes: first which things are visible and which sound, then when, then everything else, independently."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from avkit.errors import unknown_name
from avkit.scenes.draws import Draws
from avkit.scenes.placement import HUGE, place_thing, random_colour
from avkit.scenes.world import BACKGROUNDS, CLASSES, COLOURS, SPLITS, Scene, Span, Thing, overlap, total_length

#: Number of things that are visible and sound, are visible and silent, sound and are never visible.
Cast = tuple[int, int, int]
Spans = tuple[Span, ...]

#: How often each cast appears in a ten-second scene, in percent.
CASTS: dict[Cast, int] = {
    (0, 0, 1): 1, (0, 1, 0): 1, (0, 1, 1): 2, (0, 2, 1): 1, (0, 3, 0): 1,
    (1, 0, 0): 1, (1, 0, 1): 2, (1, 0, 2): 1, (1, 1, 0): 8, (1, 1, 1): 12, (1, 2, 0): 16, (1, 2, 1): 20, (1, 3, 0): 11,
    (2, 0, 0): 1, (2, 0, 1): 1, (2, 1, 0): 6, (2, 1, 1): 6, (2, 2, 0): 6, (3, 0, 0): 1, (3, 1, 0): 2,
}  # fmt: skip
_CASTS = list(CASTS)
_CUMULATED = [total / sum(CASTS.values()) for total in accumulate(CASTS.values())]


def sample_scene(
    index: int,
    split: str = "train",
    seed: int = 0,
    untrimmed: bool = False,
    close: bool = False,
    casts: Sequence[Cast] | None = None,
    attempt: int = 0,
) -> Scene:
    """Draw the scene `index` of a split.

    Args:
        index: Any number from 0.
        split: One of `SPLITS`; no scene is in two of them.
        seed: Another seed gives another set of scenes.
        untrimmed: 20 to 60 s in which things come and go, instead of 10 s with one to four things.
        close: 10 s of two huge things side by side or one above the other, of which one sounds.
        casts: Casts to choose from with equal probability, instead of the usual mixture; nothing else depends on them.
        attempt: Another number gives another scene of the same index, for searches.

    Raises:
        ValueError: If the split is unknown or a number is negative.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if min(index, seed, attempt) < 0:
        raise ValueError(f"index={index}, seed={seed}, attempt={attempt}: a scene is named by numbers from 0 upwards.")
    mixture = 2 if close else int(untrimmed)
    draws = Draws(seed, SPLITS.index(split), index, attempt, mixture)
    duration = 10
    if untrimmed:
        duration = draws.integer(20, 61)
        things = _untrimmed_things(draws, duration)
    elif close:
        things = _close_things(draws)
    else:
        things = _ten_second_things(draws, _random_cast(draws, casts))
    grey = draws.uniform(70, 165)
    contrast = draws.uniform(14, 30)
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


def _random_cast(draws: Draws, casts: Sequence[Cast] | None) -> Cast:
    if casts is not None:
        return casts[draws.integer(0, len(casts))]
    return _CASTS[bisect_right(_CUMULATED, draws.uniform())]


def _ten_second_things(draws: Draws, cast: Cast) -> list[Thing]:
    both, silent, unseen = cast
    count = both + silent + unseen
    kinds = draws.sample(len(CLASSES), count)
    colours = [random_colour(draws) for _ in kinds]
    spans = []
    for i in range(count):
        in_view = i < both + silent
        sounds = i < both or not in_view
        spans.append(_random_spans(draws, in_view, sounds))
    if both and silent and draws.chance(0.2):
        # a silent twin of the first sounding thing: the same class in another colour, visible at the same time
        kinds[both] = kinds[0]
        colours[both] = (colours[0] + draws.integer(1, len(COLOURS))) % len(COLOURS)
        if total_length(overlap(spans[0][0], spans[both][0])) < 4:
            spans[both] = spans[0][0], ()
    things: list[Thing] = []
    # later things find less room, so the order must not tell which things sound
    for i in draws.sample(count, count):
        things.append(place_thing(draws, things, kinds[i], colours[i], *spans[i], 10))
    return things


def _random_spans(draws: Draws, in_view: bool, sounds: bool) -> tuple[Spans, Spans]:
    """Visible and sounding spans in ten seconds, independent but for two seconds in common if there are both."""
    visible: Spans = ()
    sounding: Spans = ()
    if in_view:
        visible = _whole_seconds(draws)
    if sounds:
        sounding = _whole_seconds(draws)
    while in_view and sounds and total_length(overlap(visible, sounding)) < 2:
        sounding = _whole_seconds(draws)
    if sounds and draws.chance(0.2):
        sounding = _with_pause(draws, sounding, visible)
    return visible, sounding


def _whole_seconds(draws: Draws) -> Spans:
    """One span of 4 to 10 s, more often than not all ten."""
    seconds = 10 if draws.chance(0.6) else draws.integer(4, 11)
    start = draws.integer(0, 11 - seconds)
    return ((float(start), float(start + seconds)),)


def _with_pause(draws: Draws, spans: Spans, visible: Spans) -> Spans:
    """The span with a pause of 1 or 2 s inside, unless less than two seconds of it would be left in view."""
    ((start, end),) = spans
    pause = draws.integer(1, 3)
    cut = start + draws.integer(1, int(end - start) - pause)
    paused = ((start, cut), (cut + pause, end))
    if visible and total_length(overlap(visible, paused)) < 2:
        return spans
    return paused


def _close_things(draws: Draws) -> list[Thing]:
    """Two things at opposite sides of the picture, of which the first sounds; either may be in front."""
    kinds = draws.sample(len(CLASSES), 2)
    colours = draws.sample(len(COLOURS), 2)
    sounding = _whole_seconds(draws)
    side_by_side = draws.chance(0.5)
    sounding_first = draws.chance(0.5)
    things = []
    for i in draws.sample(2, 2):
        near = draws.uniform(0.1, 0.18)
        along = near if sounding_first == (i == 0) else 1 - near
        aside = draws.uniform(0.42, 0.58)
        start = (along, aside) if side_by_side else (aside, along)
        thing = place_thing(draws, [], kinds[i], colours[i], ((0.0, 10.0),), sounding, 10)
        if i != 0:
            thing = replace(thing, sounding=())
        things.append(replace(thing, size=HUGE, start=start, velocity=(0.0, 0.0)))
    return things


def _untrimmed_things(draws: Draws, duration: int) -> list[Thing]:
    """About one thing per five seconds, at most four in view at once and each class once."""
    things: list[Thing] = []
    for kind in draws.sample(len(CLASSES), min(len(CLASSES), 2 + duration // 5)):
        visible: Spans = ()
        if draws.chance(0.85):
            visible = _uncrowded(things, _spans_in_tenths(draws, duration, 1 + duration // 20, 4, 14))
        sounding: Spans = ()
        if not visible or draws.chance(0.7):
            sounding = _spans_in_tenths(draws, duration, 2 + duration // 15, 1, 6, visible)
        things.append(place_thing(draws, things, kind, random_colour(draws), visible, sounding, duration))
    return things


def _spans_in_tenths(draws: Draws, duration: int, count: int, low: int, high: int, near: Sequence[Span] = ()) -> Spans:
    """Up to `count` spans of `low` to `high` seconds in whole tenths; most of them begin within the spans `near`."""
    spans: list[Span] = []
    for _ in range(count):
        tenths = draws.integer(10 * low, 10 * high)
        first, last = 0.0, float(duration)
        if near and draws.chance(0.8):
            first, last = near[draws.integer(0, len(near))]
        begin = min(draws.integer(round(10 * first), round(10 * last)), 10 * duration - tenths)
        start = begin / 10
        end = (begin + tenths) / 10
        # a pause of half a second keeps two spans apart as two events
        if all(end + 0.5 <= s or e + 0.5 <= start for s, e in spans):
            spans.append((start, end))
    return tuple(sorted(spans))


def _uncrowded(things: Sequence[Thing], spans: Spans) -> Spans:
    """Those spans during which fewer than four of the things are in view."""
    occupied: list[Span] = []
    for thing in things:
        occupied += thing.visible
    return tuple([span for span in spans if _max_visible(span, occupied) < 4])


def _max_visible(span: Span, occupied: Sequence[Span]) -> int:
    """Maximum number of the occupied spans at one moment within a span; it is reached where one of them starts."""
    count = _visible_at(span[0], occupied)
    for start, _ in occupied:
        if span[0] <= start < span[1]:
            count = max(count, _visible_at(start, occupied))
    return count


def _visible_at(moment: float, occupied: Sequence[Span]) -> int:
    return sum(start <= moment < end for start, end in occupied)
