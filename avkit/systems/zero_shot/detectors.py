# SPDX-License-Identifier: Apache-2.0
"""Open-vocabulary detectors: boxes of named things in pictures, by transformers.

Source:
    Liu et al., Grounding DINO, ECCV 2024; Minderer et al., Scaling open-vocabulary object detection, NeurIPS 2023.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Boxes:
    """Boxes of named things in one picture, best first.

    Attributes:
        corners: Left, top, right, bottom in pixels, (N, 4).
        labels: Which of the names each is, int64 (N,).
        scores: Probabilities, (N,).
    """

    corners: Tensor
    labels: Tensor
    scores: Tensor

    def of(self, label: int) -> "Boxes":
        """The boxes of one name."""
        kept = self.labels == label
        return Boxes(self.corners[kept], self.labels[kept], self.scores[kept])


class Detector(nn.Module, ABC):
    """Finds named things in pictures.

    Args:
        path: Folder that `save_pretrained` wrote.
        at_once: Pictures that pass the network together.
    """

    def __init__(self, path: Path, at_once: int = 4) -> None:
        super().__init__()
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        self.processor = AutoProcessor.from_pretrained(path, local_files_only=True)
        self.network = AutoModelForZeroShotObjectDetection.from_pretrained(path, local_files_only=True)
        self.at_once = at_once

    @torch.inference_mode()
    def detect(self, frames: Tensor, names: Sequence[str], threshold: float) -> list[Boxes]:
        """Boxes in each picture.

        Args:
            frames: uint8 (N, 3, H, W).
            names: Nouns.
            threshold: Least probability.
        """
        found: list[Boxes] = []
        for part in frames.split(self.at_once):
            for boxes in self._detect(part, names, threshold):
                order = boxes.scores.argsort(descending=True)
                found.append(Boxes(boxes.corners[order], boxes.labels[order], boxes.scores[order]))
        return found

    @abstractmethod
    def _detect(self, frames: Tensor, names: Sequence[str], threshold: float) -> list[Boxes]:
        """Boxes in each of a few pictures, in any order."""


class GroundingDINO(Detector):
    """GroundingDINO: all names in one sentence; a box belongs to the name whose tokens it fits best."""

    def _detect(self, frames: Tensor, names: Sequence[str], threshold: float) -> list[Boxes]:
        prompt = "".join(f"{name}. " for name in names).strip()
        inputs = self.processor(
            images=list(frames.cpu()), text=[prompt] * len(frames), return_tensors="pt", padding=True
        ).to(frames.device)
        output: Any = self.network(**inputs)
        places = self._places(prompt, names)
        probabilities = output.logits.sigmoid().nan_to_num(0)
        by_name = torch.stack([probabilities[..., tokens].amax(-1) for tokens in places], -1)
        height, width = frames.shape[-2:]
        scale = output.pred_boxes.new_tensor([width, height, width, height])
        return [
            _kept(_corners(boxes) * scale, scores, threshold)
            for boxes, scores in zip(output.pred_boxes, by_name, strict=True)
        ]

    def _places(self, prompt: str, names: Sequence[str]) -> list[list[int]]:
        """Numbers of the tokens of each name in the prompt."""
        offsets = self.processor.tokenizer(prompt, return_offsets_mapping=True)["offset_mapping"]
        places = []
        start = 0
        for name in names:
            end = start + len(name)
            places.append([number for number, (a, b) in enumerate(offsets) if b > a and a < end and b > start])
            start = end + len(". ")
        return places


class OWLv2(Detector):
    """OWLv2: a text per name; pictures are padded to a square by its processor."""

    def _detect(self, frames: Tensor, names: Sequence[str], threshold: float) -> list[Boxes]:
        texts = [f"a photo of a {name}" for name in names]
        inputs = self.processor(
            images=list(frames.cpu()), text=[texts] * len(frames), return_tensors="pt", padding=True, truncation=True
        ).to(frames.device)
        output: Any = self.network(**inputs)
        side = max(frames.shape[-2:])
        limit = output.pred_boxes.new_tensor([frames.shape[-1], frames.shape[-2]] * 2)
        found = []
        for boxes, logits in zip(output.pred_boxes, output.logits, strict=True):
            corners = (_corners(boxes) * side).clamp(min=0).minimum(limit)
            found.append(_kept(corners, logits.sigmoid(), threshold))
        return found


def _kept(corners: Tensor, scores: Tensor, threshold: float) -> Boxes:
    """Boxes (N, 4) of which some name is likely enough, from scores (N, names)."""
    best = scores.max(-1)
    kept = best.values >= threshold
    return Boxes(corners[kept], best.indices[kept], best.values[kept])


def _corners(boxes: Tensor) -> Tensor:
    """Left, top, right, bottom of boxes given by centre and size."""
    centre = boxes[..., :2]
    half = boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)
