# SPDX-License-Identifier: Apache-2.0
"""What of a dataset is on disk: which clips are missing, which files cannot be read, which features do not fit."""

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Line
from avkit.datasets.clips import ClipDataset
from avkit.datasets.official import AbsentError, Official, Released
from avkit.errors import AvkitError, DataError, MediaError
from avkit.features.base import FeatureFacts, Features
from avkit.features.store import Store
from avkit.media.decode import probe
from avkit.media.image import load_image

#: Examples given of each kind of problem.
_EXAMPLES = 3
#: Hops that features are commonly made with, in seconds, to name the one that a length tells of.
_HOPS = {0.96: "VGGish's usual hop", 1.0: "one a second", 0.32: "UnAV-100's VGGish and I3D", 0.25: "ONE-PEACE's"}
#: Threads that open files.
_THREADS = 8


@dataclass
class Problem:
    """One kind of fault.

    Attributes:
        split: Split it is found in; empty where it concerns them all.
        what: The fault, as a sentence.
        count: Clips or files that have it.
        examples: Some of their names.
        fatal: Whether the dataset cannot be used as it is; else it is only worth knowing.
    """

    split: str
    what: str
    count: int
    examples: list[str] = field(default_factory=list)
    fatal: bool = True


@dataclass
class SplitState:
    """What is there of a split.

    Attributes:
        split: Its name.
        listed: Samples in the annotation files.
        official: Samples that the official files have, or None where that is not known.
        present: Samples whose media, or features, are all there.
        missing: Number of samples by what they lack.
    """

    split: str
    listed: int
    official: int | None
    present: int
    missing: dict[str, int] = field(default_factory=dict)


@dataclass
class State:
    """The result of a check.

    Attributes:
        dataset: Name of the dataset.
        root: Its folder.
        release: Release of the annotations.
        splits: What is there of each split.
        features: Name of each kind of features found, and clips that have them.
        problems: What is wrong or worth knowing.
        source: Where to get what is missing.
    """

    dataset: str
    root: str
    release: str
    splits: list[SplitState] = field(default_factory=list)
    features: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    source: str = ""

    @property
    def ok(self) -> bool:
        """Whether everything is there and readable."""
        return not any(problem.fatal for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"ok": self.ok, **asdict(self)}


def check_dataset(
    cls: type[Official],
    root: str | Path,
    release: str | None = None,
    visual: str | None = None,
    audio: str | None = None,
    read: bool = True,
    each: Callable[[], None] | None = None,
) -> State:
    """Look at a dataset on disk.

    Args:
        cls: Its reader.
        root: Its folder.
        release: Release of the annotations; the usual one by default.
        visual: Features that are to be read instead of pictures, as in `Official`.
        audio: Features that are to be read instead of sound.
        read: Open every file that is there; False looks at names alone.
        each: Called after each file.

    Raises:
        ValueError: If release or features are unknown.
        DataError: If no split has an annotation file, or one is damaged.
    """
    state = State(cls.name, str(root), release or cls.releases[0], source=cls.source)
    readers: dict[str, Official] = {}
    faults: list[DataError] = []
    for split in cls.splits:
        try:
            readers[split] = cls(root, split, release=release, visual=visual, audio=audio, media=False)
        except DataError as error:
            faults.append(error)
            state.problems.append(Problem(split, str(error), 0, fatal=not isinstance(error, AbsentError)))
    if not readers:
        raise faults[0]
    for split, reader in readers.items():
        lines = list(reader.lines)
        lacks = {line.data["id"]: reader.locate(line) for line in lines}
        missing = Counter(lack for lack in lacks.values() if lack)
        official = cls.counts.get(state.release, {}).get(split)
        state.splits.append(SplitState(split, len(lines), official, len(lines) - missing.total(), dict(missing)))
        for lack in missing:
            names = [name for name, x in lacks.items() if x == lack]
            state.problems.append(Problem(split, f"clips lack {lack}", len(names), names[:_EXAMPLES]))
        if official is not None and official != len(lines):
            what = f"{len(lines)} samples are listed, the official release {state.release!r} has {official}"
            state.problems.append(Problem(split, what, abs(official - len(lines)), fatal=False))
        if read:
            present = [line for line in lines if not lacks[line.data["id"]]]
            state.problems += _unreadable(split, reader, present, each)
    state.problems += _shared(readers)
    for features, fault in _features(cls, readers, read):
        state.features[features] = fault.pop()
        state.problems += fault
    return state


def check_lines(lines: list[Line], name: str, root: str | Path, each: Callable[[], None] | None = None) -> State:
    """Look at the clips of a list of one's own, such as a manifest, whose lines have been checked as they were read."""
    state = State(name, str(root), "", [SplitState("all", len(lines), None, len(lines))])
    state.problems = _unreadable("all", ClipDataset(lines, Vocabulary()), lines, each)
    return state


def _unreadable(
    split: str, reader: ClipDataset, lines: Iterable[Line], each: Callable[[], None] | None
) -> list[Problem]:
    """Files that do not open, and videos that end before their labels."""
    files: dict[Path, float] = {}
    for line in lines:
        data = line.data
        steps = data.get("steps", reader.steps)
        wanted = data.get("duration", steps * reader.hop if steps and not reader.centred else 0.0)
        for key in ("video", "audio", "picture"):
            if key in data:
                files[line.root / data[key]] = wanted
        frames = data.get("frames")
        files |= {line.root / name: 0.0 for name in (frames if isinstance(frames, list) else ())}
        files |= {line.root / mask["file"]: 0.0 for mask in data.get("masks", ())}
    damaged, short = [], []

    def look(item: tuple[Path, float]) -> tuple[Path, str, bool]:
        path, wanted = item
        try:
            if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
                load_image(path)
                return path, "", False
            info = probe(path)
            if info.is_cut:
                return path, "cut off", False
            return path, "", info.duration < wanted - 1.0
        except (MediaError, OSError) as error:
            return path, str(error), False

    with ThreadPoolExecutor(_THREADS) as pool:
        for path, fault, is_short in pool.map(look, files.items()):
            if fault:
                damaged.append(path.name)
            if is_short:
                short.append(path.name)
            if each is not None:
                each()
    found = [(damaged, "files cannot be read"), (short, "files end more than a second before their labels")]
    return [Problem(split, what, len(names), names[:_EXAMPLES]) for names, what in found if names]


def _shared(readers: dict[str, Official]) -> list[Problem]:
    """Videos that are in more than one split."""
    seen: dict[str, set[str]] = {}
    for split, reader in readers.items():
        for line in reader.lines:
            seen.setdefault(line.media, set()).add(split)
    alike = {frozenset({"val", "test"})} if _same_list(readers) else set()
    names = [name for name, splits in seen.items() if len(splits) > 1 and frozenset(splits) not in alike]
    names = [name for name in names if not all(s.startswith("test") for s in seen[name])]
    what = "videos are in more than one split, as the official lists have them"
    return [Problem("", what, len(names), sorted(names)[:_EXAMPLES], fatal=False)] if names else []


def _same_list(readers: dict[str, Official]) -> bool:
    """Whether val and test are one list."""
    ids = [[line.data["id"] for line in readers[s].lines] for s in ("val", "test") if s in readers]
    return len(ids) == 2 and ids[0] == ids[1]


def _features(cls: type[Official], readers: dict[str, Official], read: bool) -> Iterable[tuple[str, list[Any]]]:
    """Each kind of features that is there or asked for: its faults, and last how many clips have it."""
    first = next(iter(readers.values()))
    found: dict[str, tuple[Features, Released | None]] = {}
    for name, released in cls.released.items():
        try:
            features = first.named_features(name, released.sees)
            if features.path.exists() and features.names:
                found[name] = features, released
        except DataError:
            continue
    found |= {x.path.name: (x, None) for x in (first.visual, first.audio) if isinstance(x, Store)}
    for name, (features, known) in found.items():
        lines = [line for reader in readers.values() for line in reader.lines]
        names = {line.media if line.media in features.names else line.data["id"]: line for line in lines}
        have = {n: line for n, line in names.items() if n in features.names}
        try:
            faults = [*_misfits(cls, name, features, known, have if read else {})]
        except DataError as error:
            faults = [Problem("", f"features {name}: {error}", 1)]
        yield name, [*faults, f"{len(have)} of {len(names)}"]


def _misfits(
    cls: type[Official], name: str, features: Features, released: Released | None, clips: dict[str, Line]
) -> Iterable[Problem]:
    """Features that cannot be read, have another width, or tell of another hop than the benchmark's."""
    wanted = released.facts if released is not None else _benchmark(cls, features)
    own = features.facts
    if released is None and wanted is not None and own.hop and abs(own.hop - wanted.hop) > 1e-3:
        yield Problem("", f"features {name}: {hop_text(own.hop)}; {cls.title} uses {wanted.hop:g} s", len(clips))
    shapes: dict[str, tuple[int, ...]] = {}
    damaged = []
    for clip in clips:
        try:
            shapes[clip] = features.read(clip).shape
        except AvkitError:
            damaged.append(clip)
    if damaged:
        yield Problem("", f"features {name} cannot be read", len(damaged), sorted(damaged)[:_EXAMPLES])
    if released is None:
        return
    expected = released.shape
    odd = [n for n, shape in shapes.items() if shape[1:] != expected[1:]]
    if odd:
        what = f"features {name} are {shapes[odd[0]]}; {cls.title} uses {_shape_text(expected)}"
        yield Problem("", what, len(odd), sorted(odd)[:_EXAMPLES])
    yield from _lengths(cls, name, released, {n: shape[0] for n, shape in shapes.items()}, clips)


def _lengths(
    cls: type[Official], name: str, released: Released, rows: dict[str, int], clips: dict[str, Line]
) -> Iterable[Problem]:
    """Features whose number of rows does not fit the clip."""
    if released.shape[0] is not None and cls.fixed is not None:
        odd = [n for n, count in rows.items() if count != released.shape[0]]
        if odd:
            what = f"features {name} have {rows[odd[0]]} rows; {cls.title} uses {released.shape[0]}"
            yield Problem("", what, len(odd), sorted(odd)[:_EXAMPLES])
        return
    wrong: dict[float, list[str]] = {}
    for clip, count in rows.items():
        duration, facts = clips[clip].data.get("duration"), released.facts
        if duration is None or not facts.hop:
            continue
        expected = (duration - facts.window) / facts.hop + 1
        if abs(count - expected) > max(3, 0.05 * expected):
            hop = duration / max(1, count)
            near = min(_HOPS, key=lambda h: abs(h - hop))
            wrong.setdefault(near if abs(near - hop) < 0.15 * hop else round(hop, 2), []).append(clip)
    for hop, names in wrong.items():
        what = f"features {name}: {hop_text(hop)}; {cls.title} uses {released.facts.hop:g} s"
        yield Problem("", what, len(names), sorted(names)[:_EXAMPLES])


def _benchmark(cls: type[Official], features: Features) -> FeatureFacts | None:
    """What the dataset's own features of the same encoder are like."""
    same = [r.facts for r in cls.released.values() if r.facts.encoder == features.facts.encoder]
    return same[0] if same else None


def hop_text(hop: float) -> str:
    """A hop in words."""
    known = next((text for h, text in _HOPS.items() if abs(h - hop) < 1e-6), "")
    return f"hop {hop:g} s{f' ({known})' if known else ''}"


def _shape_text(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('T' if n is None else str(n) for n in shape)})"
