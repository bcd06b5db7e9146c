# SPDX-License-Identifier: Apache-2.0
"""How many questions each release of MUSIC-AVQA has of each type, and which accuracies these allow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from avkit.leaderboard.published import PublishedValue

#: Types of each modality, in the order of `_COUNTS`.
TYPES: Mapping[str, tuple[str, ...]] = {
    "Audio": ("Audio Counting", "Audio Comparative"),
    "Visual": ("Visual Counting", "Visual Location"),
    "Audio-Visual": (
        "Audio-Visual Existential",
        "Audio-Visual Counting",
        "Audio-Visual Location",
        "Audio-Visual Comparative",
        "Audio-Visual Temporal",
    ),
}
NAMES = tuple(name for names in TYPES.values() for name in names)
AVERAGES = tuple(f"{modality} Avg" for modality in TYPES)
#: Questions of each type by board, release and split, counted in the official files.
_COUNTS: Mapping[tuple[str, str, str], tuple[int, ...]] = {
    ("music-avqa", "update", "test"): (1017, 594, 1197, 1225, 988, 1265, 920, 1101, 822),
    ("music-avqa", "original", "test"): (1022, 601, 1199, 1228, 995, 1274, 927, 1115, 824),
    ("music-avqa", "real", "test"): (894, 247, 1072, 1024, 894, 949, 712, 972, 638),
    ("music-avqa", "synthetic", "test"): (128, 354, 127, 204, 101, 325, 215, 143, 186),
    ("music-avqa", "by-video", "test"): (1027, 555, 1228, 1234, 994, 1255, 883, 1115, 834),
    ("music-avqa", "update", "val"): (511, 295, 600, 613, 495, 633, 461, 549, 411),
    ("music-avqa", "original", "val"): (515, 299, 600, 614, 499, 635, 462, 557, 414),
    ("music-avqa", "real", "val"): (449, 123, 536, 510, 449, 472, 353, 486, 320),
    ("music-avqa", "synthetic", "val"): (66, 176, 64, 104, 50, 163, 109, 71, 94),
    ("music-avqa", "by-video", "val"): (516, 312, 648, 600, 512, 617, 451, 489, 426),
    ("music-avqa-v2", "balanced", "test"): (1382, 643, 1505, 1338, 1223, 1740, 920, 1101, 967),
}
_EPSILON = 1e-9


@dataclass(frozen=True)
class Release:
    """Counts of questions of one release and split.

    Attributes:
        name: Name of the release.
        split: Name of the split.
        counts: Questions by type.
    """

    name: str
    split: str
    counts: Mapping[str, int]

    @cached_property
    def totals(self) -> dict[str, int]:
        """Questions of each type, of each average and overall."""
        totals = dict(self.counts)
        for modality, names in TYPES.items():
            totals[f"{modality} Avg"] = sum(self.counts[name] for name in names)
        totals["Overall"] = sum(self.counts.values())
        return totals

    @property
    def label(self) -> str:
        """Name and number of questions, such as `update (9,129)`."""
        split = "" if self.split == "test" else f", {self.split}"
        return f"{self.name}{split} ({self.totals['Overall']:,})"

    def fits(self, value: PublishedValue) -> bool:
        """Whether the value is k of the release's questions, for some whole k."""
        return right_answers(value, self.totals[value.metric]) is not None

    def luck(self, values: Sequence[PublishedValue]) -> float:
        """How likely so many values fit by luck: the chance that as many of them do or more."""
        hits = sum(self.fits(value) for value in values)
        chances = [1.0]
        for value in values:
            chance = min(1.0, 2 * value.rounding * self.totals[value.metric])
            fewer = [0.0, *chances]
            chances = [p * (1 - chance) for p in chances] + [0.0]
            chances = [p + q * chance for p, q in zip(chances, fewer, strict=True)]
        return sum(chances[hits:])

    def pooled(self, parts: Sequence[PublishedValue]) -> tuple[float, float]:
        """The pooled accuracy of types or averages in per cent, and half the width of what rounding leaves open."""
        asked = sum(self.totals[part.metric] for part in parts)
        answers = [right_answers(part, self.totals[part.metric]) for part in parts]
        exact = [k for k in answers if k is not None]
        if len(exact) == len(parts) and all(_is_unique(part, self.totals[part.metric]) for part in parts):
            return 100 * sum(exact) / asked, 0.0
        value = sum(self.totals[part.metric] * (part.percent or 0.0) for part in parts) / asked
        return value, sum(self.totals[part.metric] * 100 * part.rounding for part in parts) / asked

    def pools(self, average: PublishedValue, parts: Sequence[PublishedValue]) -> bool:
        """Whether an average follows from its parts, but for rounding."""
        value, width = self.pooled(parts)
        return abs(value - (average.percent or 0.0)) <= width + 100 * average.rounding + _EPSILON


def right_answers(value: PublishedValue, asked: int) -> int | None:
    """The number of right answers that a value means; None where no whole number gives it."""
    share = value.fraction or 0.0
    nearest = round(share * asked)
    return nearest if abs(nearest / asked - share) <= value.rounding + _EPSILON else None


def _is_unique(value: PublishedValue, asked: int) -> bool:
    """Whether no two numbers of right answers are printed alike."""
    return 2 * value.rounding * asked < 1


def releases_of(board: str, release: str = "") -> list[Release]:
    """The releases and splits of a board whose counts are known.

    Args:
        board: Name of the board.
        release: Only this one, where a source states it.
    """
    return [
        Release(name, split, dict(zip(NAMES, counts, strict=True)))
        for (place, name, split), counts in _COUNTS.items()
        if place == board and release in ("", name)
    ]


def release_label(board: str, release: str, split: str) -> str:
    """Name of a release with its number of questions, such as `update (9,129)`, where that is known."""
    for candidate in releases_of(board, release) if release else []:
        if candidate.split == split:
            return candidate.label
    return release
