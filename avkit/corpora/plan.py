# SPDX-License-Identifier: Apache-2.0
"""Which clips are made of which videos: by keyword, combined, overlaid and stitched; and which split each is in.

Source:
    RA-SSU (paper), section III-B: 50 to 100 clips of 10 s per keyword, 30 frames per second, 512 x 512; clips of
    several keywords; more of them by overlaying sound and stitching pictures. Splits of 75 / 10 / 15 % and
    70 / 15 / 15 %. What is left open there is chosen here, and said in `Recipe`.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avkit.datasets.folder import Folder
from avkit.datasets.music_avqa import MusicAVQA
from avkit.datasets.tables import number, read_cells, read_text, safe_id
from avkit.errors import DataError, unknown_name

#: The instruments of MUSIC-AVQA, which are the keywords of f-Music.
INSTRUMENTS = [
    "accordion",
    "acoustic_guitar",
    "bagpipe",
    "banjo",
    "bassoon",
    "cello",
    "clarinet",
    "congas",
    "drum",
    "electric_bass",
    "erhu",
    "flute",
    "guzheng",
    "piano",
    "pipa",
    "saxophone",
    "suona",
    "trumpet",
    "tuba",
    "ukulele",
    "violin",
    "xylophone",
]

#: Answers by which a question says that what it names is not there.
_NOT_THERE = ("no", "zero")
#: Scene types of f-Lifescene, whose list is not published: as many labels of VGGSound, those with most clips.
LIFESCENES = 61
_SPLITS = ("train", "val", "test")
_VIDEO = (
    "{}.mp4",
    "video/{}.mp4",
    "videos/{}.mp4",
    "MUSIC-AVQA-videos-Real/{}.mp4",
    "MUSIC-AVQA-videos-Synthetic/{}.mp4",
)


@dataclass(frozen=True)
class Candidate:
    """A video that clips may be made of.

    Attributes:
        name: Its id.
        path: The file.
        labels: Keywords it is known to hold, sorted.
    """

    name: str
    path: Path
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Planned:
    """A clip to be made.

    Attributes:
        name: Its id.
        kind: `single`, `multi`, `overlay` (the picture of the first, the sound of both) or `stitched` (side by side).
        split: `train`, `val` or `test`.
        parts: What it is made of.
        draw: A number in [0, 1) that places the ten seconds within each video.
    """

    name: str
    kind: str
    split: str
    parts: tuple[Candidate, ...]
    draw: float

    @property
    def labels(self) -> list[str]:
        """Keywords, in order and once each."""
        return list(dict.fromkeys(label for part in self.parts for label in part.labels))


@dataclass(frozen=True)
class Recipe:
    """How much is made of what.

    Attributes:
        name: `f-music` or `f-lifescene`.
        single: Most clips per keyword.
        least: Keywords with fewer clips are left out.
        multi: Most clips of several keywords.
        overlay: Clips with the sound of another laid over.
        stitched: Clips of two side by side.
        shares: Of train, val and test.
        seed: Of all choices.
    """

    name: str
    single: int = 100
    least: int = 1
    multi: int = 1000
    overlay: int = 400
    stitched: int = 400
    shares: tuple[float, float, float] = (0.75, 0.10, 0.15)
    seed: int = 0


@dataclass
class Plan:
    """What is to be made.

    Attributes:
        clips: In order.
        classes: Keywords that some clip has.
        notes: What fell short.
    """

    clips: list[Planned]
    classes: list[str]
    notes: list[str] = field(default_factory=list)


def draw(seed: int, *words: str) -> float:
    """A number in [0, 1) that depends on nothing but its words, on every machine."""
    digest = hashlib.sha256("\0".join((str(seed), *words)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def shuffled(items: Iterable[Candidate], seed: int, *words: str) -> list[Candidate]:
    """In an order of its own for each seed and purpose, the same whatever order they came in."""
    return sorted(items, key=lambda c: (draw(seed, *words, c.name), c.name))


def make_plan(candidates: Sequence[Candidate], recipe: Recipe, keywords: Sequence[str]) -> Plan:
    """Choose clips; splits share no video.

    Raises:
        DataError: If no video has a keyword.
    """
    known = set(keywords)
    usable = [c for c in candidates if c.labels and set(c.labels) <= known]
    if not usable:
        raise DataError(f"None of {len(candidates)} videos has one of the keywords {', '.join(sorted(known)[:5])}, ...")
    split = assign_splits(usable, recipe)
    chosen: list[Planned] = []
    notes: list[str] = []
    single: list[Candidate] = []
    if absent := [k for k in sorted(known) if not any(k in c.labels for c in usable)]:
        notes.append(f"no video of {', '.join(absent)}")
    for keyword in sorted(known):
        found = [c for c in usable if c.labels == (keyword,)]
        if len(found) < recipe.least:
            if keyword not in absent:
                notes.append(f"{keyword}: {len(found)} clips, fewer than {recipe.least}; left out")
            continue
        single += shuffled(found, recipe.seed, "single")[: recipe.single]
    several = shuffled((c for c in usable if len(c.labels) > 1), recipe.seed, "multi")[: recipe.multi]
    for kind, parts in (("single", single), ("multi", several)):
        chosen += [_planned(kind, split[c.name], (c,), recipe.seed) for c in parts]
    for kind, count in (("overlay", recipe.overlay), ("stitched", recipe.stitched)):
        made = list(_pairs(single, split, kind, count, recipe))
        if len(made) < count:
            notes.append(f"{kind}: {len(made)} of {count}, for want of clips of different keywords in one split")
        chosen += made
    return Plan(chosen, sorted({label for clip in chosen for label in clip.labels}), notes)


def assign_splits(candidates: Sequence[Candidate], recipe: Recipe) -> dict[str, str]:
    """Split of each video, by shares within each set of labels, so that all splits have all of them alike."""
    groups: dict[tuple[str, ...], list[Candidate]] = defaultdict(list)
    for c in candidates:
        groups[c.labels].append(c)
    out = {}
    for labels, group in groups.items():
        ordered = shuffled(group, recipe.seed, "split")
        offset = draw(recipe.seed, "offset", *labels)  # so that small groups fall into all splits
        for k, c in enumerate(ordered):
            place, limit = (k + offset) / len(ordered) % 1, 0.0
            for name, share in zip(_SPLITS, recipe.shares, strict=True):
                limit += share
                if place < limit or name == _SPLITS[-1]:
                    out[c.name] = name
                    break
    return out


def _pairs(
    single: Sequence[Candidate], split: dict[str, str], kind: str, count: int, recipe: Recipe
) -> Iterable[Planned]:
    """Pairs of clips of different keywords within a split, each clip first in one pair at most."""
    left = count
    for name, share in zip(_SPLITS, recipe.shares, strict=True):
        group = shuffled((c for c in single if split[c.name] == name), recipe.seed, kind)
        wanted = min(left, round(count * share)) if name != _SPLITS[-1] else left
        for first, second in zip(group, group[1:] + group[:1], strict=True):
            if wanted and first.labels != second.labels:
                wanted, left = wanted - 1, left - 1
                yield _planned(kind, name, (first, second), recipe.seed)


def _planned(kind: str, split: str, parts: tuple[Candidate, ...], seed: int) -> Planned:
    name = "+".join(c.name for c in parts)
    return Planned(
        name if kind in ("single", "multi") else f"{kind}_{name}", kind, split, parts, draw(seed, kind, name)
    )


def music_videos(root: str | Path, release: str | None = None) -> list[Candidate]:
    """Videos of MUSIC-AVQA on disk, with the instruments that its questions and answers say are in them.

    An instrument is in a video if a question names it and the answer is neither no nor zero, or if it is an answer.

    Raises:
        DataError: If there are no annotation files or no videos.
    """
    labels: dict[str, set[str]] = defaultdict(set)
    fault: DataError | None = None
    for split in MusicAVQA.splits:
        try:
            reader = MusicAVQA(root, split, release=release, media=False)
        except DataError as error:
            fault = error
            continue
        for line in reader.lines:
            question = line.data["questions"][0]
            if question["answer"] in INSTRUMENTS:
                labels[line.media].add(question["answer"])
            elif question["answer"] not in _NOT_THERE:
                labels[line.media] |= set(question["question"].rstrip("?").split()) & set(INSTRUMENTS)
    if not labels and fault is not None:
        raise fault
    return _present(Path(root), {name: tuple(sorted(found)) for name, found in labels.items()}, "MUSIC-AVQA")


def vggsound_videos(root: str | Path) -> list[Candidate]:
    """Clips of VGGSound on disk, `<id>_<start second, 6 digits>.mp4`, with their labels of `vggsound.csv`.

    Raises:
        DataError: If the table or all clips are missing.
    """
    path = next((p for p in (Path(root) / "vggsound.csv", Path(root) / "data/vggsound.csv") if p.is_file()), None)
    if path is None:
        raise DataError(f"VGGSound: vggsound.csv is not under root {str(root)!r}. Get it from hche11/VGGSound (data/).")
    labels: dict[str, tuple[str, ...]] = {}
    for k, row in enumerate(read_cells(read_text(path))):
        where = f"{path}, line {k + 1}"
        if len(row) < 3:
            raise DataError(f"{where}: {len(row)} fields instead of id, start, label and split, separated by commas.")
        labels[f"{safe_id(row[0], where)}_{int(number(row[1], where)):06d}"] = (row[2].strip(),)
    return _present(Path(root), labels, "VGGSound")


def _present(root: Path, labels: dict[str, tuple[str, ...]], title: str) -> list[Candidate]:
    folder = Folder(root)
    found = []
    for name in sorted(labels):
        path = next((p for x in _VIDEO if folder.has(p := x.format(name))), None)
        if path is not None:
            found.append(Candidate(name, root / path, labels[name]))
    if not found:
        raise DataError(
            f"{title}: none of {len(labels)} videos is under root {str(root)!r} "
            f"({', '.join(x.format('ID') for x in _VIDEO)})."
        )
    return found


def choose_keywords(candidates: Sequence[Candidate], name: str, given: str | None) -> list[str]:
    """Keywords: those given, or the instruments, or the labels of VGGSound that most clips have.

    Raises:
        ValueError: If one that is given labels no video.
    """
    counts = Counter(label for c in candidates for label in c.labels)
    if given:
        words = [word.strip() for word in given.split(",") if word.strip()]
        for word in words:
            if word not in counts:
                raise unknown_name("keyword", word, counts)
        return words
    if name == "f-music":
        return INSTRUMENTS
    return sorted(sorted(counts, key=lambda label: (-counts[label], label))[:LIFESCENES])
