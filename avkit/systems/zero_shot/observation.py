# SPDX-License-Identifier: Apache-2.0
"""What is heard, seen and found in one clip; each is worked out when an answer first asks for it.

Letters: T steps, K targets, H W pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from avkit.systems.zero_shot.targets import Target, kinds_of


@dataclass
class Track:
    """Where a target is in the pictures of a clip.

    Attributes:
        target: Its number.
        boxes: Best box of each step: left, top, right, bottom as shares of the picture, (T, 4); NaN where there is
            none.
        scores: Probability of that box, (T,); 0 where there is none.
        counts: Boxes of the target in each step, int64 (T,).
        maps: Probability that a pixel is of the target, (T, H, W); None where nothing outlines it.
    """

    target: int
    boxes: Tensor
    scores: Tensor
    counts: Tensor
    maps: Tensor | None = None

    def centre(self, steps: Tensor) -> float | None:
        """Horizontal middle of the boxes of some steps, bool (T,), as a share of the width; None if there is none."""
        present = steps & (self.scores > 0)
        if not bool(present.any()):
            return None
        return float(self.boxes[present][:, [0, 2]].mean())


class Observation:
    """What is heard, seen and found in a clip.

    Args:
        targets: What is listened and looked for, K of them.
        heard: Probability that each is heard, (T, K).
        active: Whether it counts as heard, bool (T, K), see `hysteresis`.
        see: Gives the probability that the targets with some numbers are seen, (T, numbers), or None where nothing
            tells.
        find: Gives tracks of the targets with some numbers, or None where nothing finds them.
        hop: Seconds per step.
        max_names: Targets that are looked for, those heard best.
        can_outline: Whether tracks have outlines.
        only_heard: Whether only what is heard is looked for; with the classes of a dataset all are.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        heard: Tensor,
        active: Tensor,
        see: Callable[[Sequence[int]], Tensor | None],
        find: Callable[[Sequence[int]], list[Track] | None],
        *,
        hop: float,
        max_names: int,
        can_outline: bool,
        only_heard: bool,
    ) -> None:
        self.targets = targets
        self.heard = heard
        self.active = active
        self.hop = hop
        self.max_names = max_names
        self.can_outline = can_outline
        self.only_heard = only_heard
        self._see = see
        self._find = find

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return len(self.heard)

    @cached_property
    def seen(self) -> Tensor | None:
        """Probability that each target is seen, (T, K), 0 of what is not looked for; None where nothing tells."""
        numbers = self.sounding if self.only_heard else list(range(len(self.targets)))
        scores = self._see(numbers)
        if scores is None:
            return None
        seen = torch.zeros_like(self.heard)
        seen[:, numbers] = scores.to(seen)
        return seen

    @cached_property
    def sounding(self) -> list[int]:
        """Numbers of the targets that count as heard, those heard best first."""
        best = self.heard.amax(0) if self.steps else self.heard.new_zeros(len(self.targets))
        order = best.argsort(descending=True, stable=True).tolist()
        return [number for number in order if bool(self.active[:, number].any())]

    @cached_property
    def tracks(self) -> list[Track] | None:
        """Tracks of the visible targets that are heard best; None where nothing finds them."""
        visible = [number for number in self.sounding if self.targets[number].object]
        return self._find(visible[: self.max_names])

    def track(self, number: int) -> Track | None:
        """The track of a target, if it was looked for and is found somewhere."""
        for track in self.tracks or ():
            if track.target == number and bool((track.scores > 0).any()):
                return track
        return None

    def onset(self, number: int) -> int | None:
        """The first step in which a target counts as heard."""
        steps = self.active[:, number].nonzero()
        return int(steps[0]) if len(steps) else None


def hysteresis(scores: Tensor, upper: float, lower: float) -> Tensor:
    """Whether each target counts as heard: from where its score reaches `upper`, as long as it stays above `lower`.

    Args:
        scores: (T, K).
        upper: Score at which it begins.
        lower: Score below which it ends, in both directions from a step of at least `upper`.

    Returns:
        bool (T, K).
    """
    active = scores >= upper
    kept = scores >= min(lower, upper)
    return _spread(active, kept) | _spread(active.flip(0), kept.flip(0)).flip(0)


def _spread(active: Tensor, kept: Tensor) -> Tensor:
    """Steps that follow an active one without a step between that is not kept."""
    steps = torch.arange(len(active), device=active.device)[:, None]
    last_active = torch.where(active, steps, -1).cummax(0).values if len(active) else steps.expand_as(active)
    last_gap = torch.where(kept, -1, steps).cummax(0).values if len(active) else steps.expand_as(active)
    return last_active > last_gap


def without_general(active: Tensor, targets: Sequence[Target]) -> Tensor:
    """The same, bool (T, K), without a general event such as a bird where a special one such as a crow is heard."""
    index = {target.name: number for number, target in enumerate(targets)}
    kept = active.clone()
    for special, generals in kinds_of().items():
        for general in generals:
            if special in index and general in index:
                kept[:, index[general]] &= ~active[:, index[special]]
    return kept


def calibrate(scores: Tensor, threshold: float) -> Tensor:
    """Scores in straight lines so that `threshold` becomes 0.5, the value from which answers count a class as there."""
    below = scores / (2 * threshold)
    above = 0.5 + (scores - threshold) / (2 * (1 - threshold))
    return torch.where(scores < threshold, below, above).clamp(0, 1)
