# SPDX-License-Identifier: Apache-2.0
"""Captions: one sentence per step, always the same for the same state.

Two states that differ in what a sentence mentions differ in the sentence; no word is chosen at random.
"""

import re

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
#: Change of loudness within a second from which a resting thing is said to swell or fade.
_TREND = 0.2

_PATTERNS = {
    "sounding": "{thing} {verb} {place}{company}{unseen}",
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


def pattern_words(patterns: list[str]) -> set[str]:
    """Words of sentence patterns, without their {fields}."""
    return {word for pattern in patterns for word in re.sub(r"\{.*?\}", " ", pattern).split()}


#: Every word that a caption can have, in alphabetical order.
CAPTION_WORDS = sorted(
    pattern_words(
        [
            *_PATTERNS.values(),
            *_SIDES,
            *_MOTIONS,
            *(p for row in PLACES for p in row),
            *_COUNTS[1:],
        ]
    )
    | {"a", "an", "other", "others"}
    | {*CLASSES, *COLOURS, *SIZES, *BACKGROUNDS}
    | {verb for pair in VERBS.values() for verb in pair}
)


def scene_captions(scene: Scene, hop: float = 1.0, state: Track | None = None) -> list[str]:
    """One sentence for the middle of each step: lower case, no punctuation.

    Args:
        scene: What to describe.
        hop: Seconds per step.
        state: The scene's `track` at this hop, if it is already known.
    """
    return _Narrator(scene, hop, state if state is not None else track(scene, hop)).sentences()


def article(words: str) -> str:
    """`words` after "a" or "an"."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def sounding_verb(thing: Thing) -> str:
    """What a thing does when it sounds."""
    return VERBS[thing.name][thing.rhythm]


def _coloured(thing: Thing) -> str:
    return f"{COLOURS[thing.colour]} {thing.name}"


def _full(thing: Thing) -> str:
    return f"a {SIZES[thing.size]} {_coloured(thing)}"


class _Narrator:
    """Describes the steps of one scene, from plain lists, as single array elements are slow to read."""

    def __init__(self, scene: Scene, hop: float, state: Track) -> None:
        self.scene, self.things = scene, scene.things
        self.hop = hop
        self.centre, self.heading = state.centre.tolist(), state.heading.tolist()
        self.loudness = state.loudness.tolist()
        self.seen, self.heard = state.visible.tolist(), state.sounding.tolist()
        self.wall = _PATTERNS["wall"].format(background=BACKGROUNDS[scene.background])

    def sentences(self) -> list[str]:
        return [self.sentence(t) for t in range(len(self.seen[0]))]

    def sentence(self, t: int) -> str:
        everything = range(len(self.things))
        seen = sorted((i for i in everything if self.seen[i][t]), key=lambda i: self.centre[i][t][0])
        loud = [i for i in seen if self.heard[i][t]]
        unseen = sorted(
            (self.things[i] for i in everything if self.heard[i][t] and not self.seen[i][t]), key=lambda x: x.kind
        )
        if loud:
            return self.sounding(t, seen, loud, unseen)
        if unseen:
            return self.out_of_view(unseen)
        what = self.still(t, seen) if seen else _PATTERNS["empty"]
        return _PATTERNS["silence"].format(what=what, wall=self.wall)

    def sounding(self, t: int, seen: list[int], loud: list[int], unseen: list[Thing]) -> str:
        first = loud[0]
        thing = self.things[first]
        company = away = ""
        if unseen:
            away = _PATTERNS["and"].format(other=article(unseen[0].name), verb=sounding_verb(unseen[0]))
        if len(loud) > 1:
            other = self.things[loud[1]]
            company = _PATTERNS["while"].format(other=article(_coloured(other)), verb=sounding_verb(other))
        elif not unseen:
            company = self.relation(t, first, seen) if len(seen) > 1 else _PATTERNS["alone"]
        return _PATTERNS["sounding"].format(
            thing=_full(thing),
            verb=sounding_verb(thing),
            place=self.place(t, first),
            company=company,
            unseen=away,
        )

    def out_of_view(self, unseen: list[Thing]) -> str:
        thing, *more = unseen
        second = _PATTERNS["second"].format(other=article(more[0].name), verb=sounding_verb(more[0])) if more else ""
        return _PATTERNS["unseen"].format(
            thing=article(thing.name),
            verb=sounding_verb(thing),
            second=second,
            wall=self.wall,
        )

    def still(self, t: int, seen: list[int]) -> str:
        first, others = seen[0], len(seen) - 1
        company = _PATTERNS["others"].format(count=_COUNTS[others], others="other" if others == 1 else "others")
        return _PATTERNS["still"].format(
            thing=_full(self.things[first]),
            motion=self.motion(t, first),
            place=self.place(t, first),
            company=company if others else _PATTERNS["alone"],
        )

    def motion(self, t: int, i: int) -> str:
        x, y = self.heading[i][t]
        if abs(x) > abs(y):
            return _MOTIONS[0] if x < 0 else _MOTIONS[1]
        if y:
            return _MOTIONS[2] if y < 0 else _MOTIONS[3]
        change = (self.loudness[i][t] - self.loudness[i][max(t - 1, 0)]) / self.hop
        return _MOTIONS[4] if change > _TREND else _MOTIONS[5] if change < -_TREND else _MOTIONS[6]

    def place(self, t: int, i: int) -> str:
        x, y = self.centre[i][t]
        return PLACES[int(y * 3)][int(x * 3)]

    def relation(self, t: int, first: int, seen: list[int]) -> str:
        """Where a thing is seen from the nearest other one."""
        x, y = self.centre[first][t]
        gaps = [(x - self.centre[i][t][0], y - self.centre[i][t][1]) for i in seen if i != first]
        right, down = min(gaps, key=lambda gap: gap[0] ** 2 + gap[1] ** 2)
        side = _SIDES[int(right > 0)] if abs(right) > abs(down) else _SIDES[2 + int(down > 0)]
        return _PATTERNS["relation"].format(side=side)
