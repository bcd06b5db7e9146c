# SPDX-License-Identifier: Apache-2.0
"""Questions of the nine MUSIC-AVQA types, and the search for a scene that has a wanted answer.

A question is asked only where its answer is beyond doubt: times differ by two seconds or more, positions are clearly in
one quarter, sounds clearly differ in loudness. `Template.casts` names, for every answer, the casts of the scenes to
search; they are chosen such that how many things are seen tells nothing of an answer that depends on the sound.

Types: Li et al., "Learning to Answer Questions in Dynamic Audio-Visual Scenarios", CVPR 2022, table 1.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from avkit.errors import unknown_name
from avkit.scenes.captioning import pattern_words
from avkit.scenes.draws import Draws
from avkit.scenes.sampling import Cast, sample_scene
from avkit.scenes.world import CLASSES, SPLITS, Scene, Thing, length, place

NUMBERS = ("zero", "one", "two", "three", "four")
QUARTERS = (("upper left", "upper right"), ("lower left", "lower right"))
#: Seconds, picture widths from the middle, and ratio of amplitudes from which a difference counts.
_SECONDS, _OFFSET, _RATIO = 2.0, 0.08, 1.4


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its MUSIC-AVQA type such as "Audio Counting", and its answer."""

    type: str
    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Template:
    """One way to ask.

    Attributes:
        type: One of the nine types.
        pattern: The question; `{a}` and `{b}` stand for names of classes.
        ask: From a scene to the classes named and the answer, for each instance the scene admits.
        casts: Casts to search by answer.
    """

    type: str
    pattern: str
    ask: Callable[[Scene], Iterator[tuple[dict[str, str], str]]]
    casts: Mapping[str, Sequence[Cast]]

    def questions(self, scene: Scene) -> list[Question]:
        """All questions of this form about the scene."""
        return [Question(self.type, self.pattern.format(**names), answer) for names, answer in self.ask(scene)]


def scene_questions(scene: Scene) -> list[Question]:
    """All questions that the scene admits, in the order of `TEMPLATES`."""
    return [question for template in TEMPLATES for question in template.questions(scene)]


def sample_question(index: int, split: str = "train", seed: int = 0) -> tuple[Scene, Question]:
    """Search a scene that admits a question of the type, and with the answer, that is next in turn.

    Types take turns, and within a type its answers, so that any run of indices is balanced.

    Args:
        index: Any number from 0; the scene found carries it, and is another than `sample_scene(index)`.
        split: One of `world.SPLITS`.
        seed: As in `sample_scene`.

    Raises:
        ValueError: If the split is unknown or a number is negative.
        RuntimeError: If no such scene is found, which means that a template and its casts contradict each other.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    draws = Draws(seed, SPLITS.index(split), index)
    kind = MUSIC_AVQA_TYPES[index % len(MUSIC_AVQA_TYPES)]
    answers = ANSWERS_BY_TYPE[kind]
    answer = answers[index // len(MUSIC_AVQA_TYPES) % len(answers)]
    forms = [t for t in TEMPLATES if t.type == kind]
    form = forms[draws.integer(0, len(forms))]
    for attempt in range(1, 10_000):
        scene = sample_scene(index, split, seed, hint=form.casts[answer], attempt=attempt)
        found = form.questions(scene)
        if found and answer in CLASSES:
            # classes are exchangeable: turning all of them by as much keeps the mixture of scenes and saves the search
            scene = _turned(scene, CLASSES.index(answer) - CLASSES.index(found[0].answer))
            found = form.questions(scene)
        found = [q for q in found if q.answer == answer]
        if found:
            return scene, found[draws.integer(0, len(found))]
    raise RuntimeError(
        f"No scene found for {form.pattern!r} with the answer {answer!r} among the casts {form.casts[answer]}."
    )


def _turned(scene: Scene, by: int) -> Scene:
    return replace(scene, things=tuple(replace(t, kind=(t.kind + by) % len(CLASSES)) for t in scene.things))


def _seen(scene: Scene) -> list[Thing]:
    return [t for t in scene.things if t.visible]


def _heard(scene: Scene) -> list[Thing]:
    return [t for t in scene.things if t.sounding]


def _both(scene: Scene) -> list[Thing]:
    return [t for t in scene.things if t.visible and t.sounding]


def _named_once(scene: Scene, things: list[Thing]) -> list[Thing]:
    """Those whose class no other thing of the scene has."""
    kinds = [t.kind for t in scene.things]
    return [t for t in things if kinds.count(t.kind) == 1]


def _volume(thing: Thing) -> float:
    """Mean amplitude while it sounds."""
    seconds = np.arange(len(thing.loudness)) + 0.5
    times = np.concatenate([np.arange(s, e, 0.5) + 0.25 for s, e in thing.sounding])
    return thing.gain * float(np.interp(times, seconds, thing.loudness).mean())


def _mean(thing: Thing) -> tuple[float, float]:
    """Mean centre over the middles of the seconds in which it is in view."""
    times = [at for start, end in thing.visible for at in np.arange(start, end).tolist()]
    x, y = zip(*(place(thing.start, thing.velocity, thing.margin, at + 0.5) for at in times), strict=True)
    return sum(x) / len(x), sum(y) / len(y)


def _quarter(thing: Thing) -> str | None:
    x, y = _mean(thing)
    return QUARTERS[int(y > 0.5)][int(x > 0.5)] if min(abs(x - 0.5), abs(y - 0.5)) > _OFFSET else None


def _sides(a: Thing, b: Thing) -> bool | None:
    """Whether `a` is left of `b`; None where they are too near to say."""
    gap = _mean(b)[0] - _mean(a)[0]
    return gap > 0 if abs(gap) > 2 * _OFFSET else None


Asked = Iterator[tuple[dict[str, str], str]]


def _count_sounds(scene: Scene) -> Asked:
    if 1 <= len(_heard(scene)) <= 3:
        yield {}, NUMBERS[len(_heard(scene))]


def _longer(scene: Scene) -> Asked:
    for a, b in permutations(_heard(scene), 2):
        gap = length(a.sounding) - length(b.sounding)
        if abs(gap) >= _SECONDS:
            yield {"a": a.name, "b": b.name}, "yes" if gap > 0 else "no"


def _louder(scene: Scene) -> Asked:
    for a, b in permutations(_heard(scene), 2):
        ratio = _volume(a) / _volume(b)
        if max(ratio, 1 / ratio) >= _RATIO:
            yield {"a": a.name, "b": b.name}, "yes" if ratio > 1 else "no"


def _count_things(scene: Scene) -> Asked:
    if 1 <= len(_seen(scene)) <= 4:
        yield {}, NUMBERS[len(_seen(scene))]


def _where(scene: Scene) -> Asked:
    for thing in _named_once(scene, _seen(scene)):
        quarter = _quarter(thing)
        if quarter:
            yield {"a": thing.name}, quarter


def _any_unseen(scene: Scene) -> Asked:
    if len(_heard(scene)) == 2 and len(_seen(scene)) in (2, 3):
        yield {}, "no" if len(_both(scene)) == 2 else "yes"


def _makes_sound(scene: Scene) -> Asked:
    both = len(_both(scene))
    if both and both < len(_seen(scene)):
        for thing in _named_once(scene, _seen(scene)):
            yield {"a": thing.name}, "yes" if thing.sounding else "no"


def _count_both(scene: Scene) -> Asked:
    # always two seen and two heard: neither eye nor ear alone can count those that are both
    if len(_seen(scene)) == len(_heard(scene)) == 2:
        yield {}, NUMBERS[len(_both(scene))]


def _where_sound(scene: Scene) -> Asked:
    both = _both(scene)
    if len(both) == 1 and len(_seen(scene)) > 2:
        quarter = _quarter(both[0])
        if quarter:
            yield {}, quarter


def _sounding_left(scene: Scene) -> Asked:
    both, seen = _both(scene), _seen(scene)
    if len(both) == 1 and len(seen) == 2:
        left = _sides(both[0], next(t for t in seen if not t.sounding))
        if left is not None:
            yield {}, "yes" if left else "no"


def _left_louder(scene: Scene) -> Asked:
    both = _both(scene)
    if len(both) == 2 and len(_seen(scene)) == 2:
        left = _sides(*both)
        ratio = _volume(both[0]) / _volume(both[1])
        if left is not None and max(ratio, 1 / ratio) >= _RATIO:
            yield {}, "yes" if left == (ratio > 1) else "no"


def _first(scene: Scene) -> Asked:
    starts = sorted((t.sounding[0][0], t.name) for t in _both(scene))
    if len(starts) > 1 and len(_seen(scene)) > 2 and starts[1][0] - starts[0][0] >= _SECONDS:
        yield {}, starts[0][1]


def _same(answers: Sequence[str], casts: Sequence[Cast]) -> dict[str, Sequence[Cast]]:
    return dict.fromkeys(answers, casts)


_YES_NO = ("no", "yes")
_FOUR = tuple(quarter for row in QUARTERS for quarter in row)
TEMPLATES = (
    Template(
        "Audio Counting",
        "how many different sounds are heard",
        _count_sounds,
        {
            "one": [(1, 0, 0), (1, 1, 0), (1, 2, 0)],
            "two": [(1, 0, 1), (1, 1, 1), (1, 2, 1)],
            "three": [(1, 0, 2), (2, 0, 1), (2, 1, 1)],
        },
    ),
    Template(
        "Audio Comparative",
        "does the {a} sound longer than the {b}",
        _longer,
        _same(_YES_NO, [(1, 0, 1), (2, 0, 0), (1, 1, 1), (2, 1, 0)]),
    ),
    Template(
        "Audio Comparative",
        "is the {a} louder than the {b}",
        _louder,
        _same(_YES_NO, [(1, 0, 1), (2, 0, 0), (1, 1, 1), (2, 1, 0)]),
    ),
    Template(
        "Visual Counting",
        "how many things are seen",
        _count_things,
        {
            "one": [(1, 0, 0), (1, 0, 1)],
            "two": [(1, 1, 0), (1, 1, 1)],
            "three": [(1, 2, 0), (1, 2, 1)],
            "four": [(1, 3, 0), (2, 2, 0)],
        },
    ),
    Template("Visual Location", "where is the {a}", _where, _same(_FOUR, [(1, 1, 0), (1, 1, 1), (1, 2, 0)])),
    Template(
        "Audio-Visual Existential",
        "is one of the sounds made by a thing never seen",
        _any_unseen,
        {
            "no": [(2, 0, 0), (2, 1, 0)],
            "yes": [(1, 1, 1), (1, 2, 1)],
        },
    ),
    Template(
        "Audio-Visual Existential",
        "does the {a} in view make a sound",
        _makes_sound,
        _same(_YES_NO, [(1, 1, 0), (1, 1, 1), (1, 2, 0), (2, 1, 0)]),
    ),
    Template(
        "Audio-Visual Counting",
        "how many things in view make a sound",
        _count_both,
        {
            "zero": [(0, 2, 2)],
            "one": [(1, 1, 1)],
            "two": [(2, 0, 0)],
        },
    ),
    Template(
        "Audio-Visual Location",
        "where is the thing that makes the sound",
        _where_sound,
        _same(_FOUR, [(1, 2, 0), (1, 3, 0)]),
    ),
    Template(
        "Audio-Visual Comparative",
        "is the sounding thing on the left of the silent one",
        _sounding_left,
        _same(_YES_NO, [(1, 1, 0), (1, 1, 1)]),
    ),
    Template(
        "Audio-Visual Comparative",
        "is the left thing louder than the right one",
        _left_louder,
        _same(_YES_NO, [(2, 0, 0), (2, 0, 1)]),
    ),
    Template(
        "Audio-Visual Temporal",
        "which thing in view sounds first",
        _first,
        _same(CLASSES, [(2, 1, 0), (2, 1, 1), (2, 2, 0), (3, 1, 0)]),
    ),
)

#: The nine types in the order of the MUSIC-AVQA tables.
MUSIC_AVQA_TYPES = list(dict.fromkeys(t.type for t in TEMPLATES))
ANSWERS_BY_TYPE = {t.type: sorted(t.casts) for t in TEMPLATES}
#: All answers, in alphabetical order.
ANSWERS = sorted({answer for answers in ANSWERS_BY_TYPE.values() for answer in answers})
#: Every word that a question can have.
QUESTION_WORDS = sorted(pattern_words([t.pattern for t in TEMPLATES]) | set(CLASSES))
