# SPDX-License-Identifier: Apache-2.0
"""Answers to each form of question, computed from the record of a scene.

A rule takes a scene and yields, for each question that the scene admits, the names of classes by field of the
question's pattern, and the answer. It yields nothing where the answer is in doubt.
"""

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np

from avkit.scenes.world import Scene, Thing, position, total_length

Answers = Iterator[tuple[dict[str, str], str]]
Rule = Callable[[Scene], Answers]

NUMBERS = ("zero", "one", "two", "three", "four")
QUARTERS = (("upper left", "upper right"), ("lower left", "lower right"))
#: Seconds from which a difference of times counts.
_SECONDS = 2.0
#: Distance from the middle, in picture widths, from which a side counts.
_OFFSET = 0.08
#: Ratio of amplitudes from which a difference of loudness counts.
_RATIO = 1.4


def count_sounds(scene: Scene) -> Answers:
    """How many things sound, one to three."""
    count = len(_sounding(scene))
    if 1 <= count <= 3:
        yield {}, NUMBERS[count]


def sounds_longer(scene: Scene) -> Answers:
    """Whether `a` sounds longer than `b`, by two seconds or more."""
    for a, b in permutations(_sounding(scene), 2):
        difference = total_length(a.sounding) - total_length(b.sounding)
        if abs(difference) >= _SECONDS:
            yield {"a": a.name, "b": b.name}, _yes_no(difference > 0)


def is_louder(scene: Scene) -> Answers:
    """Whether `a` is clearly louder than `b`, or clearly not."""
    for a, b in permutations(_sounding(scene), 2):
        ratio = _volume(a) / _volume(b)
        if max(ratio, 1 / ratio) >= _RATIO:
            yield {"a": a.name, "b": b.name}, _yes_no(ratio > 1)


def count_visible(scene: Scene) -> Answers:
    """How many things are visible, one to four."""
    count = len(_visible(scene))
    if 1 <= count <= 4:
        yield {}, NUMBERS[count]


def where_visible(scene: Scene) -> Answers:
    """In which quarter of the picture `a` is."""
    for thing in _unique_class(scene, _visible(scene)):
        quarter = _quarter(thing)
        if quarter is not None:
            yield {"a": thing.name}, quarter


def any_sound_off_screen(scene: Scene) -> Answers:
    """Whether one of two sounds is made by a thing that is never visible."""
    if len(_sounding(scene)) == 2 and len(_visible(scene)) in (2, 3):
        yield {}, _yes_no(len(_sounding_visible(scene)) != 2)


def makes_sound(scene: Scene) -> Answers:
    """Whether `a` sounds, where some things in view sound and others do not."""
    visible = _visible(scene)
    if 0 < len(_sounding_visible(scene)) < len(visible):
        for thing in _unique_class(scene, visible):
            yield {"a": thing.name}, _yes_no(bool(thing.sounding))


def count_sounding_visible(scene: Scene) -> Answers:
    """How many of the things in view sound.

    Two things are visible and two sound, always, so neither pictures nor sound alone can count those that do both.
    """
    if len(_visible(scene)) == len(_sounding(scene)) == 2:
        yield {}, NUMBERS[len(_sounding_visible(scene))]


def where_sounding(scene: Scene) -> Answers:
    """In which quarter the only sounding one of three or more things is."""
    both = _sounding_visible(scene)
    if len(both) == 1 and len(_visible(scene)) > 2:
        quarter = _quarter(both[0])
        if quarter is not None:
            yield {}, quarter


def sounding_is_left(scene: Scene) -> Answers:
    """Whether of two things the sounding one is left of the silent one."""
    both = _sounding_visible(scene)
    visible = _visible(scene)
    if len(both) == 1 and len(visible) == 2:
        silent = next(thing for thing in visible if not thing.sounding)
        left = _is_left(both[0], silent)
        if left is not None:
            yield {}, _yes_no(left)


def left_is_louder(scene: Scene) -> Answers:
    """Whether of two sounding things the left one is louder."""
    both = _sounding_visible(scene)
    if len(both) == 2 and len(_visible(scene)) == 2:
        left = _is_left(*both)
        ratio = _volume(both[0]) / _volume(both[1])
        if left is not None and max(ratio, 1 / ratio) >= _RATIO:
            yield {}, _yes_no(left == (ratio > 1))


def sounds_first(scene: Scene) -> Answers:
    """Which of the things in view sounds first, by two seconds or more."""
    starts = sorted((thing.sounding[0][0], thing.name) for thing in _sounding_visible(scene))
    if len(starts) > 1 and len(_visible(scene)) > 2 and starts[1][0] - starts[0][0] >= _SECONDS:
        yield {}, starts[0][1]


def _yes_no(answer: bool) -> str:
    return "yes" if answer else "no"


def _visible(scene: Scene) -> list[Thing]:
    return [thing for thing in scene.things if thing.visible]


def _sounding(scene: Scene) -> list[Thing]:
    return [thing for thing in scene.things if thing.sounding]


def _sounding_visible(scene: Scene) -> list[Thing]:
    return [thing for thing in scene.things if thing.visible and thing.sounding]


def _unique_class(scene: Scene, things: list[Thing]) -> list[Thing]:
    """Those whose class no other thing of the scene has."""
    kinds = [thing.kind for thing in scene.things]
    return [thing for thing in things if kinds.count(thing.kind) == 1]


def _volume(thing: Thing) -> float:
    """Mean amplitude while it sounds."""
    seconds = np.arange(len(thing.loudness)) + 0.5
    times = np.concatenate([np.arange(start, end, 0.5) + 0.25 for start, end in thing.sounding])
    return thing.gain * float(np.interp(times, seconds, thing.loudness).mean())


def _mean_position(thing: Thing) -> tuple[float, float]:
    """Mean centre over the middles of the seconds in which it is in view."""
    total_x = 0.0
    total_y = 0.0
    count = 0
    for start, end in thing.visible:
        for moment in np.arange(start, end).tolist():
            x, y = position(thing.start, thing.velocity, thing.margin, moment + 0.5)
            total_x += x
            total_y += y
            count += 1
    return total_x / count, total_y / count


def _quarter(thing: Thing) -> str | None:
    """Name of the quarter, None where it is too near to the middle to say."""
    x, y = _mean_position(thing)
    if min(abs(x - 0.5), abs(y - 0.5)) <= _OFFSET:
        return None
    return QUARTERS[int(y > 0.5)][int(x > 0.5)]


def _is_left(a: Thing, b: Thing) -> bool | None:
    """Whether `a` is left of `b`; None where they are too near to say."""
    distance = _mean_position(b)[0] - _mean_position(a)[0]
    return distance > 0 if abs(distance) > 2 * _OFFSET else None
