# SPDX-License-Identifier: Apache-2.0
"""What is listened and looked for: classes of datasets in terms of AudioSet's, and things that a picture may show.

`class_maps.csv` maps the classes of AVE, LLP, AVSBench (S4, MS3 and semantic), VGG-SS, UnAV-100 and f-Music to the
AudioSet classes that sound like them, written by hand; `audioset_sources.csv` says of each AudioSet class which event
it is and which visible thing makes it. Where there is no dataset, the events are what may be answered.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from avkit.reading.text import read_text, table_rows

_FOLDER = Path(__file__).parent
#: Separates several AudioSet classes.
_SEPARATOR = "|"

#: Finds the nearest of some names to a name by their meaning; None where none is near.
Nearest = Callable[[str, Sequence[str]], str | None]


@dataclass(frozen=True)
class Target:
    """Something that is listened and looked for.

    Attributes:
        name: Name in answers: a class of the dataset, or an event.
        audioset: AudioSet classes that sound like it, the likest first; empty where AudioSet has none.
        object: The visible thing, as a noun; empty where there is nothing to see.
    """

    name: str
    audioset: tuple[str, ...]
    object: str


def plain(name: str) -> str:
    """A name in lower-case words, without signs."""
    return " ".join(re.findall(r"[a-z0-9]+", name.lower()))


@cache
def class_maps() -> Mapping[str, Mapping[str, Target]]:
    """Targets by dataset and class, as datasets write their classes."""
    maps: dict[str, dict[str, Target]] = {}
    for dataset, name, audioset, noun in _rows("class_maps.csv"):
        maps.setdefault(dataset, {})[name] = Target(name, tuple(audioset.split(_SEPARATOR)), noun)
    return maps


@cache
def events() -> Mapping[str, Target]:
    """Targets by the name of their event, in the order of AudioSet; what answers about any video may name."""
    classes: dict[str, list[str]] = {}
    nouns: dict[str, str] = {}
    for audioset, event, noun, _ in _rows("audioset_sources.csv"):
        if event:
            classes.setdefault(event, []).append(audioset)
            nouns.setdefault(event, noun)
    return {event: Target(event, tuple(names), nouns[event]) for event, names in classes.items()}


@cache
def audioset_sources() -> Mapping[str, str]:
    """The event of each AudioSet class, empty for those that name no event of their own, such as `Animal`."""
    return {audioset: event for audioset, event, *_ in _rows("audioset_sources.csv")}


@cache
def kinds_of() -> Mapping[str, tuple[str, ...]]:
    """More general events by event: a crow is a bird; the general one is not named where the special one is heard."""
    kinds: dict[str, tuple[str, ...]] = {}
    for _, event, _, general in _rows("audioset_sources.csv"):
        if general:
            kinds[event] = tuple(general.split(_SEPARATOR))
    return kinds


#: First and last of the AudioSet classes of a category, which lie side by side, by the words that ask for it.
_CATEGORIES = {
    "instrument": ("Musical instrument", "Singing bowl"),
    "animal": ("Animal", "Whale vocalization"),
    "bird": ("Bird", "Bird flight, flapping wings"),
    "vehicle": ("Vehicle", "Skateboard"),
    "person": ("Speech", "Children playing"),
    "people": ("Speech", "Children playing"),
}


def in_category(target: Target, word: str) -> bool | None:
    """Whether a target is of a category such as `instrument`; None if the word names none."""
    if word not in _CATEGORIES:
        return None
    names = list(audioset_sources())
    first, last = (names.index(name) for name in _CATEGORIES[word])
    return bool(target.audioset) and target.audioset[0] in names[first : last + 1]


def find_target(name: str, nearest: Nearest | None = None) -> Target:
    """The target of a name: of a dataset's class, of an event, of an AudioSet class, or the nearest of these.

    Args:
        name: Such as `playing violin, fiddle`, `Frying_(food)`, `dog`.
        nearest: Matches names by meaning; None where no encoder of sentences is here.

    Returns:
        The target with this name; without AudioSet classes where nothing fits, so that it is never heard.
    """
    known = _by_plain_name()
    target = known.get(plain(name)) or known.get(plain(name).removeprefix("playing "))
    if target is None and nearest is not None:
        similar = nearest(name, list(events()))
        target = None if similar is None else events()[similar]
    if target is None:
        return Target(name, (), plain(name))
    return Target(name, target.audioset, target.object)


@cache
def _by_plain_name() -> Mapping[str, Target]:
    """Targets by their name in plain words; AudioSet's own names first, then events, then classes of datasets."""
    known: dict[str, Target] = {}
    for of_dataset in class_maps().values():
        for name, target in of_dataset.items():
            known.setdefault(plain(name), target)
    for name, target in events().items():
        known.setdefault(plain(name), target)
    for audioset, event, noun, _ in _rows("audioset_sources.csv"):
        known.setdefault(plain(audioset), Target(event or audioset, (audioset,), noun))
    return known


def _rows(name: str) -> list[list[str]]:
    """Rows of a table of this folder, without its heading."""
    path = _FOLDER / name
    return [row for _, row in table_rows(read_text(path), str(path))][1:]
