# SPDX-License-Identifier: Apache-2.0
"""Captions of a scene: one sentence per step, always the same for the same state.

Two states that differ in what a sentence mentions differ in the sentence; no word is chosen at random.
"""

import re
from collections.abc import Iterable

from avkit.scenes.world import BACKGROUNDS, CLASSES, COLOURS, SIZES, Scene, Thing, Track, track

#: Verb of each class when steady and when pulsing.
VERBS: dict[str, tuple[str, str]] = {
    "drum": ("rolls", "thumps"),
    "bell": ("rings", "chimes"),
    "horn": ("blares", "toots"),
    "flute": ("plays", "trills"),
    "clock": ("ticks", "clacks"),
    "engine": ("rumbles", "chugs"),
    "siren": ("wails", "whoops"),
    "bird": ("chirps", "twitters"),
    "frog": ("croaks", "ribbits"),
    "bee": ("buzzes", "hums"),
    "guitar": ("strums", "twangs"),
    "kettle": ("hisses", "puffs"),
}
#: Rows from top to bottom, columns from left to right.
PLACES = (
    ("at the top left", "at the top", "at the top right"),
    ("on the left", "in the middle", "on the right"),
    ("at the bottom left", "at the bottom", "at the bottom right"),
)
#: Change of loudness within a second from which a thing at rest swells or fades.
_TREND = 0.2

_PATTERNS = {
    "own": "{thing} {verb} {place}",
    "sounding": "{own}{company}{unseen}",
    "relation": " {side} something silent",
    "alone": " with nothing else in view",
    "while": " while {other} {verb}",
    "and": " and {other} {verb} out of view",
    "unseen": "{thing} {verb}{second} somewhere out of view {wall}",
    "second": " and {other} {verb}",
    "silence": "it is quiet and {what} {wall}",
    "empty": "there is nothing to see either",
    "still": "{thing} {motion} {place}{company}",
    "others": " beside {count} {others}",
    "wall": "in front of a {background} wall",
}
_SIDES = ("to the left of", "to the right of", "above", "below")
#: What a silent thing does.
_MOTIONS = ("drifts left", "drifts right", "drifts up", "drifts down", "swells", "fades", "stays still")
_COUNTS = ("no", "one", "two", "three")


def pattern_words(patterns: Iterable[str]) -> set[str]:
    """Words of sentence patterns, without their {fields}."""
    words: set[str] = set()
    for pattern in patterns:
        words.update(re.sub(r"\{.*?\}", " ", pattern).split())
    return words


def _caption_words() -> list[str]:
    words = pattern_words([*_PATTERNS.values(), *_SIDES, *_MOTIONS, *_COUNTS[1:]])
    for row in PLACES:
        words |= pattern_words(row)
    for verbs in VERBS.values():
        words.update(verbs)
    return sorted(words | {"a", "an", "other", "others", *CLASSES, *COLOURS, *SIZES, *BACKGROUNDS})


#: Every word that a caption can have, in alphabetical order.
CAPTION_WORDS = _caption_words()


def scene_captions(scene: Scene, hop: float = 1.0, state: Track | None = None) -> list[str]:
    """One sentence for the middle of each step: lower case, no punctuation.

    Args:
        scene: The scene to describe.
        hop: Seconds per step.
        state: `track(scene, hop)`, if it is computed already.
    """
    return _Narrator(scene, hop, track(scene, hop) if state is None else state).sentences()


def source_captions(scene: Scene, hop: float = 1.0, state: Track | None = None) -> list[list[str]]:
    """A sentence about each source of `Track.sources` in each step, T lists of K.

    It is empty where the source is silent or out of view.

    Args:
        scene: The scene to describe.
        hop: Seconds per step.
        state: `track(scene, hop)`, if it is computed already.
    """
    state = track(scene, hop) if state is None else state
    narrator = _Narrator(scene, hop, state)
    sources = state.sources.tolist()
    sounds_in_view = (state.visible & state.sounding).tolist()
    captions = []
    for t in range(narrator.steps):
        captions.append([narrator.own_sentence(t, i) if sounds_in_view[i][t] else "" for i in sources])
    return captions


def with_article(words: str) -> str:
    """`words` after "a" or "an"."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def sounding_verb(thing: Thing) -> str:
    """What a thing does when it sounds, such as "rings"."""
    return VERBS[thing.name][thing.rhythm]


def _coloured(thing: Thing) -> str:
    return f"{COLOURS[thing.colour]} {thing.name}"


def _full(thing: Thing) -> str:
    return f"a {SIZES[thing.size]} {_coloured(thing)}"


class _Narrator:
    """Describes the steps of one scene, from plain lists, as single array elements are slow to read."""

    def __init__(self, scene: Scene, hop: float, state: Track) -> None:
        self.scene = scene
        self.things = scene.things
        self.hop = hop
        self.steps = state.visible.shape[1]
        self.centre = state.centre.tolist()
        self.heading = state.heading.tolist()
        self.loudness = state.loudness.tolist()
        self.visible = state.visible.tolist()
        self.sounding = state.sounding.tolist()
        self.wall = _PATTERNS["wall"].format(background=BACKGROUNDS[scene.background])

    def sentences(self) -> list[str]:
        """A sentence for each step."""
        return [self.sentence(t) for t in range(self.steps)]

    def sentence(self, t: int) -> str:
        """What is said of a step: of what sounds in view, else of what sounds off screen, else of the silence."""
        visible = []
        off_screen = []
        for i, thing in enumerate(self.things):
            if self.visible[i][t]:
                visible.append(i)
            elif self.sounding[i][t]:
                off_screen.append(thing)
        visible.sort(key=lambda i: self.centre[i][t][0])
        off_screen.sort(key=lambda thing: thing.kind)
        sounding_visible = [i for i in visible if self.sounding[i][t]]
        if sounding_visible:
            return self.sounding_in_view(t, visible, sounding_visible, off_screen)
        if off_screen:
            return self.sounding_off_screen(off_screen)
        what = self.silent(t, visible) if visible else _PATTERNS["empty"]
        return _PATTERNS["silence"].format(what=what, wall=self.wall)

    def sounding_in_view(self, t: int, visible: list[int], sounding: list[int], off_screen: list[Thing]) -> str:
        """What is said of a step in which something in view sounds."""
        first = sounding[0]
        company = ""
        unseen = ""
        if off_screen:
            other = off_screen[0]
            unseen = _PATTERNS["and"].format(other=with_article(other.name), verb=sounding_verb(other))
        if len(sounding) > 1:
            other = self.things[sounding[1]]
            company = _PATTERNS["while"].format(other=with_article(_coloured(other)), verb=sounding_verb(other))
        elif not off_screen:
            company = self.relation(t, first, visible) if len(visible) > 1 else _PATTERNS["alone"]
        return _PATTERNS["sounding"].format(
            own=self.own_sentence(t, first),
            company=company,
            unseen=unseen,
        )

    def own_sentence(self, t: int, i: int) -> str:
        """What is said of one thing that sounds in view; a sentence about several begins with that of the leftmost."""
        thing = self.things[i]
        return _PATTERNS["own"].format(thing=_full(thing), verb=sounding_verb(thing), place=self.place(t, i))

    def sounding_off_screen(self, off_screen: list[Thing]) -> str:
        """What is said of a step in which only things that are out of view sound."""
        thing = off_screen[0]
        second = ""
        if len(off_screen) > 1:
            other = off_screen[1]
            second = _PATTERNS["second"].format(other=with_article(other.name), verb=sounding_verb(other))
        return _PATTERNS["unseen"].format(
            thing=with_article(thing.name),
            verb=sounding_verb(thing),
            second=second,
            wall=self.wall,
        )

    def silent(self, t: int, visible: list[int]) -> str:
        """What is said of things in view of which none sounds."""
        first = visible[0]
        others = len(visible) - 1
        company = _PATTERNS["alone"]
        if others:
            company = _PATTERNS["others"].format(count=_COUNTS[others], others="other" if others == 1 else "others")
        return _PATTERNS["still"].format(
            thing=_full(self.things[first]),
            motion=self.motion(t, first),
            place=self.place(t, first),
            company=company,
        )

    def motion(self, t: int, i: int) -> str:
        """How a thing moves, or how its loudness changes where it does not."""
        x, y = self.heading[i][t]
        if abs(x) > abs(y):
            return "drifts left" if x < 0 else "drifts right"
        if y:
            return "drifts up" if y < 0 else "drifts down"
        change = (self.loudness[i][t] - self.loudness[i][max(t - 1, 0)]) / self.hop
        if change > _TREND:
            return "swells"
        return "fades" if change < -_TREND else "stays still"

    def place(self, t: int, i: int) -> str:
        """Which ninth of the picture a thing is in."""
        x, y = self.centre[i][t]
        return PLACES[int(y * 3)][int(x * 3)]

    def relation(self, t: int, first: int, visible: list[int]) -> str:
        """On which side of the nearest other thing a thing is."""
        x, y = self.centre[first][t]
        gaps = []
        for i in visible:
            if i != first:
                other_x, other_y = self.centre[i][t]
                gaps.append((x - other_x, y - other_y))
        right, down = min(gaps, key=lambda gap: gap[0] ** 2 + gap[1] ** 2)
        if abs(right) > abs(down):
            side = "to the right of" if right > 0 else "to the left of"
        else:
            side = "below" if down > 0 else "above"
        return _PATTERNS["relation"].format(side=side)
