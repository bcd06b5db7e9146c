# SPDX-License-Identifier: Apache-2.0
"""Which clips are made of which videos: by keyword, combined, overlaid and stitched; and which split each is in.

Source:
    RA-SSU (paper), section III-B: 50 to 100 clips of 10 s per keyword, 30 frames per second, 512 x 512; clips of
    several keywords; more of them by overlaying sound and stitching pictures. Splits of 75 / 10 / 15 % and
    70 / 15 / 15 %. What the paper leaves open is chosen here, as the options of `CorpusRecipe`.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from avkit.corpora.filling import count_windows, room_of
from avkit.corpora.videos import SourceVideo
from avkit.errors import DataError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class PlannedClip:
    """A clip to be made.

    Attributes:
        name: Its id.
        kind: `single`, `multi`, `overlay` (the picture of the first, the sound of both) or `stitched` (side by side).
        split: `train`, `val` or `test`.
        parts: The videos that it is made of.
        position: A number in [0, 1) that places the ten seconds within each video, or within the part of it.
        window: Which of the equal parts of its video the clip lies in, from 0.
        windows: Number of these parts.
    """

    name: str
    kind: str
    split: str
    parts: tuple[SourceVideo, ...]
    position: float
    window: int = 0
    windows: int = 1

    @property
    def labels(self) -> list[str]:
        """Keywords, in order and once each."""
        labels: dict[str, None] = {}
        for part in self.parts:
            labels |= dict.fromkeys(part.labels)
        return list(labels)


@dataclass(frozen=True)
class CorpusRecipe:
    """How many clips of each kind are made.

    Attributes:
        single: Maximum number of clips per keyword.
        fill: A keyword with fewer videos gives this many clips, or as many as fit: several of a video, in one split.
        min_clips: Keywords with fewer clips are left out.
        multi: Maximum number of clips of several keywords.
        overlay: Number of clips with the sound of another laid over.
        stitched: Number of clips of two side by side.
        shares: Shares of train, val and test.
        seconds: Length of a clip, which says how many fit into a video.
        seed: Seed of all choices.
    """

    single: int = 100
    fill: int = 50
    min_clips: int = 1
    multi: int = 1000
    overlay: int = 400
    stitched: int = 400
    shares: tuple[float, float, float] = (0.75, 0.10, 0.15)
    seconds: float = 10.0
    seed: int = 0


@dataclass
class CorpusPlan:
    """What is to be made.

    Attributes:
        clips: The clips, in order.
        classes: Keywords that some clip has.
        notes: What fell short.
    """

    clips: list[PlannedClip]
    classes: list[str]
    notes: list[str] = field(default_factory=list)


def hash_uniform(seed: int, *words: str) -> float:
    """A number in [0, 1) that depends only on its arguments, on every machine."""
    digest = hashlib.sha256("\0".join((str(seed), *words)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def shuffle_videos(videos: Iterable[SourceVideo], seed: int, purpose: str) -> list[SourceVideo]:
    """Videos in an order that depends on seed and purpose, and not on the order they come in."""
    return sorted(videos, key=lambda video: (hash_uniform(seed, purpose, video.name), video.name))


def make_plan(videos: Sequence[SourceVideo], recipe: CorpusRecipe, keywords: Sequence[str]) -> CorpusPlan:
    """Choose clips; splits share no video.

    Args:
        videos: The videos on disk.
        recipe: How many clips of each kind are made.
        keywords: Keywords of the dataset; videos with others are not used.

    Raises:
        DataError: If no video has a keyword.
    """
    names = sorted(set(keywords))
    usable = [video for video in videos if video.labels and set(video.labels) <= set(names)]
    if not usable:
        raise DataError(f"None of {len(videos)} videos has one of the keywords {', '.join(names[:5])}, ...")
    singles, notes = _choose_singles(usable, recipe, names)
    several = [video for video in usable if len(video.labels) > 1]
    multis = shuffle_videos(several, recipe.seed, "multi")[: recipe.multi]
    split_of = assign_splits([*singles, *multis], recipe)  # of what is used alone, so that its shares are exact
    clips, short = _plan_singles(singles, split_of, recipe)
    notes += short
    for video in multis:
        clips.append(_plan_clip("multi", split_of[video.name], (video,), recipe.seed))
    for kind, count in (("overlay", recipe.overlay), ("stitched", recipe.stitched)):
        pairs = _plan_pairs(singles, split_of, kind, count, recipe)
        if len(pairs) < count:
            notes.append(f"{kind}: {len(pairs)} of {count}, for want of clips of different keywords in one split")
        clips += pairs
    classes: set[str] = set()
    for clip in clips:
        classes.update(clip.labels)
    return CorpusPlan(clips, sorted(classes), notes)


def _choose_singles(
    videos: Sequence[SourceVideo], recipe: CorpusRecipe, keywords: Sequence[str]
) -> tuple[list[SourceVideo], list[str]]:
    """Videos of one keyword each, and notes of what fell short."""
    labels: set[str] = set()
    for video in videos:
        labels.update(video.labels)
    absent = [keyword for keyword in keywords if keyword not in labels]
    notes = []
    if absent:
        notes.append(f"no video of {', '.join(absent)}")
    singles = []
    for keyword in keywords:
        own = [video for video in videos if video.labels == (keyword,)]
        room = sum(room_of(video, recipe.seconds) for video in own)
        count = max(len(own), min(room, recipe.fill, recipe.single))
        if count >= recipe.min_clips:
            singles += shuffle_videos(own, recipe.seed, "single")[: recipe.single]
        elif keyword not in absent:
            notes.append(f"{keyword}: {count} clips, fewer than {recipe.min_clips}; left out")
    return singles, notes


def _plan_singles(
    singles: Sequence[SourceVideo], split_of: dict[str, str], recipe: CorpusRecipe
) -> tuple[list[PlannedClip], list[str]]:
    """Clips of one keyword each, several of a video where a keyword has few; and a note of what fell short."""
    wanted = min(recipe.fill, recipe.single)
    shares = {split: max(share, 1e-9) for split, share in zip(SPLITS, recipe.shares, strict=True)}
    by_keyword: dict[tuple[str, ...], list[SourceVideo]] = defaultdict(list)
    for video in singles:
        by_keyword[video.labels].append(video)
    clips = []
    short = []
    for labels, videos in by_keyword.items():
        windows = count_windows(videos, split_of, shares, wanted, recipe.seconds)
        if sum(windows.values()) < wanted:
            short.append(f"{labels[0]} ({sum(windows.values())})")
        for video in videos:
            for window in range(windows[video.name]):
                clip = _plan_clip("single", split_of[video.name], (video,), recipe.seed)
                clips.append(_in_window(clip, window, windows[video.name], recipe.seed))
    return clips, [f"fewer than {wanted} clips fit into the videos of {', '.join(short)}"] if short else []


def _in_window(clip: PlannedClip, window: int, windows: int, seed: int) -> PlannedClip:
    """A clip in one of several parts of its video; unchanged where it is the only one."""
    if windows == 1:
        return clip
    name = f"{clip.name}_{window + 1}of{windows}"
    return replace(clip, name=name, position=hash_uniform(seed, clip.kind, name), window=window, windows=windows)


def assign_splits(videos: Sequence[SourceVideo], recipe: CorpusRecipe) -> dict[str, str]:
    """Split of each video, by shares within each set of labels, so that all splits have all of them alike."""
    groups: dict[tuple[str, ...], list[SourceVideo]] = defaultdict(list)
    for video in videos:
        groups[video.labels].append(video)
    split_of = {}
    for labels, group in groups.items():
        offset = hash_uniform(recipe.seed, "offset", *labels)  # so that small groups fall into all splits
        for k, video in enumerate(shuffle_videos(group, recipe.seed, "split")):
            split_of[video.name] = _split_at((k + offset) / len(group) % 1, recipe.shares)
    return split_of


def _split_at(place: float, shares: tuple[float, float, float]) -> str:
    """The split at a place in [0, 1), where each split takes its share."""
    limit = 0.0
    for split, share in zip(SPLITS, shares, strict=True):
        limit += share
        if place < limit:
            return split
    return SPLITS[-1]


def _plan_pairs(
    singles: Sequence[SourceVideo], split_of: dict[str, str], kind: str, count: int, recipe: CorpusRecipe
) -> list[PlannedClip]:
    """Pairs of clips of different keywords within a split, each clip first in one pair at most, keywords in turn."""
    pairs: list[PlannedClip] = []
    for split, share in zip(SPLITS, recipe.shares, strict=True):
        group = _take_turns(
            [video for video in singles if split_of[video.name] == split], recipe.seed, f"{kind} {split}"
        )
        limit = count - len(pairs)
        if split != SPLITS[-1]:
            limit = min(limit, round(count * share))
        for place, first in enumerate(group[:limit]):
            second = _next_other(group, place)
            if second is not None:
                pairs.append(_plan_clip(kind, split, (first, second), recipe.seed))
    return pairs


def _next_other(videos: Sequence[SourceVideo], place: int) -> SourceVideo | None:
    """The next video of another keyword after a place, in a ring; None where all have one keyword."""
    for step in range(1, len(videos)):
        other = videos[(place + step) % len(videos)]
        if other.labels != videos[place].labels:
            return other
    return None


def _take_turns(videos: Sequence[SourceVideo], seed: int, purpose: str) -> list[SourceVideo]:
    """Videos in rounds, one of each keyword that is left, each round in an order of its own: all come alike often."""
    rounds: dict[tuple[str, ...], int] = defaultdict(int)
    keys = {}
    for video in shuffle_videos(videos, seed, purpose):
        number = rounds[video.labels]
        rounds[video.labels] += 1
        keys[video.name] = (number, hash_uniform(seed, purpose, str(number), *video.labels), video.name)
    return sorted(videos, key=lambda video: keys[video.name])


def _plan_clip(kind: str, split: str, parts: tuple[SourceVideo, ...], seed: int) -> PlannedClip:
    source = "+".join(part.name for part in parts)
    name = source if kind in ("single", "multi") else f"{kind}_{source}"
    return PlannedClip(name, kind, split, parts, hash_uniform(seed, kind, source))
