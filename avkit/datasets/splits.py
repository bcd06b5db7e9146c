# SPDX-License-Identifier: Apache-2.0
"""Which clips are for training, validation and test: a seeded split by video, and a check for clips in two splits."""

import hashlib
import math
import os
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avkit.datasets.annotations import Annotation
from avkit.datasets.manifest_schema import SPLITS
from avkit.errors import DataError, EmptySplitError, count_of


@dataclass(frozen=True)
class SplitOptions:
    """How clips of a manifest are split where its lines do not say it.

    Attributes:
        val: Share of the videos for validation.
        test: Share of the videos for test.
        seed: Seed of the draw; it is not the seed of training, so that runs of several seeds share their test clips.
        allow_shared: Allow one clip in several splits: lines without a split are used in all three, and a clip that is
            listed in two is no error. Figures of such runs say nothing about other clips.

    Raises:
        ValueError: If the shares leave nothing for training.
    """

    val: float = 0.15
    test: float = 0.15
    seed: int = 0
    allow_shared: bool = False

    def __post_init__(self) -> None:
        if not (0 < self.val < 1 and 0 < self.test < 1 and self.val + self.test < 1):
            raise ValueError(
                f"data.splits.val is {self.val} and data.splits.test {self.test}; they are shares above 0 that leave "
                "something for training."
            )


@dataclass(frozen=True)
class SplitFacts:
    """What was done about the splits of a manifest.

    Attributes:
        path: The manifest.
        note: What a reader of figures must know, as one sentence; empty where every line says its split.
        drawn: Whether the split of some lines was drawn.
        seed: Seed of the draw.
        counts: Number of clips by split.
        digest: Hash of the ids of all test clips.
    """

    path: str
    note: str
    drawn: bool
    seed: int
    counts: dict[str, int]
    digest: str


def split_lines(
    lines: Sequence[Annotation], options: SplitOptions, path: Path
) -> tuple[dict[str, list[Annotation]], SplitFacts]:
    """The lines of each split.

    Lines that say their split keep it. The others are drawn by video: all lines of one media file, and all lines of one
    `group`, go to one split. The draw depends on the names of files and groups and on the seed, not on the order of
    the lines.

    Args:
        lines: All lines of a manifest.
        options: Shares and seed.
        path: The manifest.

    Returns:
        Lines by split, in the order of the file, and what was done.

    Raises:
        DataError: If a clip or group is in two splits, and that is not allowed.
    """
    undecided = sum(line.split is None for line in lines)
    if options.allow_shared:
        by_split = {split: [line for line in lines if line.split in (None, split)] for split in SPLITS}
        shared = _shared_ids(by_split)
        note = ""
        if shared:
            note = (
                f"{path.name}: {shared} clips are in more than one split (data.splits.allow_shared), so its figures "
                "say nothing about other clips"
            )
        return by_split, _facts(by_split, path, note, options, drawn=False)
    units = _units(lines)
    chosen, parted = _given_splits(units)
    free = [number for number in range(len(units)) if number not in chosen]
    chosen |= _draw(units, free, options)
    split_of = {}
    for number, split in chosen.items():
        for line in units[number]:
            split_of[line.id] = line.split or split
    by_split = {split: [line for line in lines if split_of[line.id] == split] for split in SPLITS}
    notes = []
    if undecided:
        counts = ", ".join(f"{len(by_split[split])} {split}" for split in SPLITS)
        notes.append(
            f"{undecided} of {len(lines)} lines have no split, so avkit drew one by video with seed {options.seed}: "
            f"{counts} clips"
        )
    if parted:
        notes.append(f"{parted} videos have parts in several splits, so the splits are not independent")
    note = f"{path.name}: {'; '.join(notes)}" if notes else ""
    return by_split, _facts(by_split, path, note, options, drawn=undecided > 0)


def too_few_error(name: str, empty: Sequence[str], lines: Sequence[Annotation]) -> DataError:
    """The error for splits without a line.

    Args:
        name: The manifest.
        empty: Names of the splits that have none.
        lines: All lines of the manifest.
    """
    shown = " and ".join(map(repr, empty))
    if any(line.split is None for line in lines):
        total = count_of(len(lines), "line")
        units = count_of(len(_units(lines)), "video or group", "videos or groups")
        return EmptySplitError(
            f"{name}: nothing is left for split {shown}: it has {total} of {units}, and each of these goes to one "
            "split as a whole. Add videos, or give each line its 'split'; to train and test on the same clips, say "
            "--data.splits.allow_shared true (--allow-shared of avkit check)."
        )
    splits = sorted({str(line.split) for line in lines})
    return EmptySplitError(
        f"{name}: no line belongs to split {shown}, only to {', '.join(splits)}. Give some lines this 'split'."
    )


def _facts(
    by_split: dict[str, list[Annotation]], path: Path, note: str, options: SplitOptions, *, drawn: bool
) -> SplitFacts:
    counts = {split: len(lines) for split, lines in by_split.items()}
    ids = "\n".join(sorted(line.id for line in by_split["test"]))
    return SplitFacts(str(path), note, drawn, options.seed, counts, hashlib.sha256(ids.encode()).hexdigest()[:16])


def _shared_ids(by_split: dict[str, list[Annotation]]) -> int:
    """Number of media files, or parts of files, that are used in more than one split."""
    splits_of: dict[Hashable, set[str]] = {}
    for split, lines in by_split.items():
        for line in lines:
            for key in _media_keys(line):
                splits_of.setdefault((key, line.start, line.end), set()).add(split)
    return sum(len(splits) > 1 for splits in splits_of.values())


def _media_keys(line: Annotation) -> list[str]:
    """The real paths of a line's media files; links to one file count as that file."""
    names = [name for name in (line.video, line.picture, line.audio) if name is not None]
    return [os.path.realpath(line.root / name) for name in names]


def _units(lines: Iterable[Annotation]) -> list[list[Annotation]]:
    """Lines that belong together: those that share a media file or a group, directly or through others."""
    unit_of: dict[Hashable, int] = {}
    units: list[list[Annotation]] = []
    for line in lines:
        keys: list[Hashable] = [("file", path) for path in _media_keys(line)]
        if line.group is not None:
            keys.append(("group", line.group))
        numbers = sorted({unit_of[key] for key in keys if key in unit_of})
        if not numbers:
            numbers = [len(units)]
            units.append([])
        first = numbers[0]
        for other in numbers[1:]:
            units[first] += units[other]
            units[other] = []
        merged = set(numbers[1:])
        if merged:
            for key, number in unit_of.items():
                if number in merged:
                    unit_of[key] = first
        units[first].append(line)
        for key in keys:
            unit_of[key] = first
    return [unit for unit in units if unit]


def _given_splits(units: Sequence[Sequence[Annotation]]) -> tuple[dict[int, str], int]:
    """The split of each unit of which a line says it, and the number of units of which lines say several.

    Raises:
        DataError: If a clip or a group is in two splits.
    """
    chosen: dict[int, str] = {}
    parted = 0
    faults = []
    for number, unit in enumerate(units):
        given = [line for line in unit if line.split is not None]
        if not given:
            continue
        chosen[number] = str(given[0].split)
        if any(line.split != given[0].split for line in given):
            parted += 1
            faults += _shared_clips(given)
    if faults:
        first, line, shared = faults[0]
        more = f" {len(faults)} lines are so." if len(faults) > 1 else ""
        raise line.error(
            "split",
            f"{line.id!r} is in split {line.split!r} and {first.id!r} in {first.split!r}, but both are of {shared}."
            f"{more} Give both one split, or allow it with --data.splits.allow_shared true (--allow-shared of avkit "
            "check).",
        )
    return chosen, parted


def _shared_clips(lines: Sequence[Annotation]) -> list[tuple[Annotation, Annotation, str]]:
    """Pairs of lines of different splits that are of one group or of one part of a file, and what they share."""
    pairs = []
    first_of_group: dict[str, Annotation] = {}
    spans: dict[str, list[tuple[float, float, int]]] = {}
    for number, line in enumerate(lines):
        if line.group is not None:
            first = first_of_group.setdefault(line.group, line)
            if first.split != line.split:
                pairs.append((first, line, f"group {line.group!r}"))
                continue
        for path in _media_keys(line):
            end = math.inf if line.end is None else line.end
            spans.setdefault(path, []).append((line.start or 0.0, end, number))
    for path, parts in spans.items():
        last: dict[str | None, tuple[float, Annotation]] = {}  # of each split the part that ends last
        for start, end, number in sorted(parts):
            line = lines[number]
            for split, (other_end, other) in last.items():
                if split != line.split and start < other_end:
                    pairs.append((other, line, f"one clip of {os.path.basename(path)}"))  # noqa: PTH119 - a text
                    break
            if end > last.get(line.split, (0.0, line))[0]:
                last[line.split] = (end, line)
    return pairs


def _draw(units: Sequence[Sequence[Annotation]], free: Sequence[int], options: SplitOptions) -> dict[int, str]:
    """A split for each of some units, by shares of their number; each class stays in training too if possible."""
    ranked = sorted(free, key=lambda number: _rank(units[number], options.seed))
    wanted = {split: _count(share, len(free)) for split, share in (("test", options.test), ("val", options.val))}
    if len(free) <= sum(wanted.values()):
        return dict.fromkeys(free, "train")
    names = {number: _names(units[number]) for number in free}
    remaining: dict[str, int] = {}
    for number in free:
        for label in names[number]:
            remaining[label] = remaining.get(label, 0) + 1
    chosen = dict.fromkeys(free, "train")
    # first videos whose classes and answers other videos have too, then any
    for is_last_resort in (False, True):
        for number in ranked:
            split = next((split for split, count in wanted.items() if count), None)
            if split is None or chosen[number] != "train":
                continue
            if not is_last_resort and any(remaining[label] < 2 for label in names[number]):
                continue
            chosen[number] = split
            wanted[split] -= 1
            for label in names[number]:
                remaining[label] -= 1
    return chosen


def _count(share: float, total: int) -> int:
    """Number of units that a share is, at least 1."""
    return max(1, math.floor(share * total + 0.5))


def _rank(unit: Sequence[Annotation], seed: int) -> str:
    """A number that looks random and depends on seed and names alone, not on the folder or the order of lines."""
    names = sorted(str(line.group or line.video or line.picture) for line in unit)
    return hashlib.sha256(f"{seed}\n{names[0]}".encode()).hexdigest()


def _names(unit: Sequence[Annotation]) -> set[str]:
    """Classes and answers of a unit."""
    names: set[str] = set()
    for line in unit:
        names |= line.class_names
        names.update(f"answer {question.answer}" for question in line.questions or ())
    return names
