# SPDX-License-Identifier: Apache-2.0
"""What of the heard names is in the pictures, and where: boxes, then outlines, kept for the tasks that follow."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from avkit.systems.zero_shot.config import ZeroShotConfig
from avkit.systems.zero_shot.detectors import Boxes, Detector
from avkit.systems.zero_shot.observation import Track
from avkit.systems.zero_shot.parts import Parts
from avkit.systems.zero_shot.presence import Presence
from avkit.systems.zero_shot.segmenters import SAM2

T = TypeVar("T")

#: Boxes of one name that are outlined, the best ones.
_MOST_BOXES = 3
#: Clips whose boxes and outlines are kept, so that several tasks, and the same clip in silence, share them.
_KEPT_CLIPS = 2


class Sight:
    """Finds named things in clips.

    Args:
        config: Options.
        parts: Models.
    """

    def __init__(self, config: ZeroShotConfig, parts: Parts) -> None:
        self.config = config
        self.parts = parts
        self._boxes: OrderedDict[str, dict[str, list[Boxes]]] = OrderedDict()
        self._maps: OrderedDict[str, dict[str, Tensor]] = OrderedDict()
        self._vectors: OrderedDict[str, dict[str, Tensor]] = OrderedDict()

    def find(self, frames: Tensor, nouns: Sequence[str], numbers: Sequence[int], *, outlines: bool) -> list[Track]:
        """Tracks of some things in a clip.

        Args:
            frames: uint8 (T, 3, H, W).
            nouns: What to look for.
            numbers: Number of the target of each noun.
            outlines: Whether masks are wanted, where a segmenter is here.

        Raises:
            MissingPart: If no detector is here.
        """
        if not nouns:
            return []
        clip = _digest(frames)
        boxes = self._detect(clip, frames, nouns)
        tracks = []
        for noun, number in zip(nouns, numbers, strict=True):
            track = _track(number, boxes[noun], frames)
            if outlines:
                track.maps = self._outline(clip, frames, noun, boxes[noun])
            tracks.append(track)
        return tracks

    def embed(self, frames: Tensor, presence: Presence) -> Tensor:
        """Vectors of the pictures of a clip, (T, D)."""
        kept = _of_clip(self._vectors, _digest(frames))
        if "" not in kept:
            kept[""] = presence.embed(frames)
        return kept[""]

    def _detect(self, clip: str, frames: Tensor, nouns: Sequence[str]) -> dict[str, list[Boxes]]:
        """Boxes of each noun in each picture."""
        kept = _of_clip(self._boxes, clip)
        wanted = [noun for noun in dict.fromkeys(nouns) if noun not in kept]
        if wanted:
            detector = self.parts.require("boxes", Detector, frames.device)
            with self.parts.timed("boxes", frames.device):
                per_step = detector.detect(frames, wanted, self.config.box_threshold)
            for label, noun in enumerate(wanted):
                kept[noun] = [boxes.of(label) for boxes in per_step]
        return kept

    def _outline(self, clip: str, frames: Tensor, noun: str, boxes: Sequence[Boxes]) -> Tensor | None:
        """Probability that a pixel is of a thing, (T, H, W); None where no segmenter is here."""
        kept = _of_clip(self._maps, clip)
        if noun not in kept:
            segmenter = self.parts.get("masks", SAM2, frames.device)
            if segmenter is None:
                return None
            with self.parts.timed("masks", frames.device):
                kept[noun] = self._segment(segmenter, frames, boxes)
        return kept[noun]

    def _segment(self, segmenter: SAM2, frames: Tensor, boxes: Sequence[Boxes]) -> Tensor:
        maps = torch.zeros(len(frames), *frames.shape[-2:], device=frames.device)
        if self.config.track:
            best = _best_step(boxes)
            if best is None:
                return maps
            corners = boxes[best].corners[:_MOST_BOXES]
            return segmenter.track(frames, best, corners).amax(0)
        for step, of_step in enumerate(boxes):
            if len(of_step.corners):
                maps[step] = segmenter.outline(frames[step], of_step.corners[:_MOST_BOXES]).amax(0)
        return maps


def _digest(frames: Tensor) -> str:
    """A key of the pictures of a clip."""
    return hashlib.blake2b(frames.contiguous().cpu().numpy().data, digest_size=16).hexdigest()


def _of_clip(kept: OrderedDict[str, dict[str, T]], clip: str) -> dict[str, T]:
    """What is kept of a clip; the oldest clip is forgotten where there are too many."""
    if clip not in kept:
        kept[clip] = {}
        while len(kept) > _KEPT_CLIPS:
            kept.popitem(last=False)
    return kept[clip]


def _best_step(boxes: Sequence[Boxes]) -> int | None:
    """The picture with the likeliest box; None where there is no box."""
    best = [float(of_step.scores[0]) if len(of_step.scores) else 0.0 for of_step in boxes]
    return max(range(len(best)), key=lambda step: best[step]) if any(best) else None


def _track(number: int, boxes: Sequence[Boxes], frames: Tensor) -> Track:
    """The best boxes of each picture as shares of its sides."""
    height, width = frames.shape[-2:]
    scale = torch.tensor([width, height, width, height], device=frames.device)
    corners = torch.full((len(frames), 4), torch.nan, device=frames.device)
    scores = torch.zeros(len(frames), device=frames.device)
    counts = torch.zeros(len(frames), dtype=torch.long, device=frames.device)
    for step, of_step in enumerate(boxes):
        counts[step] = len(of_step.scores)
        if len(of_step.scores):
            corners[step] = of_step.corners[0] / scale
            scores[step] = of_step.scores[0]
    return Track(number, corners, scores, counts)
