# SPDX-License-Identifier: Apache-2.0
"""How far two people agree who labelled the same clips: overlap of masks and spans, likeness of sentences."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Annotation
from avkit.datasets.clips import ClipDataset
from avkit.datasets.inputs import ReadOptions
from avkit.datasets.manifest_lines import read_manifest
from avkit.errors import DataError
from avkit.metrics.captions import CaptionScores

#: Height and width at which masks are compared.
_SIDE = 256
#: Fields that are compared, where both have them.
_FIELDS = frozenset({"mask", "mask_known", "class_mask", "caption"})


@dataclass
class Agreement:
    """Agreement of two manifests.

    Attributes:
        clips: Number of clips that both have.
        only_first: Clips of the first alone.
        only_second: Clips of the second alone.
        mask_iou: Overlap of what sounds, by clip, mean over the steps that both have labelled and not both left empty.
        class_iou: The same by class: mean over the classes of each step.
        span_iou: Overlap in time of what is heard, by clip, mean over its classes.
        captions: Scores of the second's sentences with the first's as reference.
        steps: Number of steps whose masks were compared.
        sentences: Number of steps whose sentences were compared.
        notes: Why scores of captions are missing, by their names.
    """

    clips: int = 0
    only_first: list[str] = field(default_factory=list)
    only_second: list[str] = field(default_factory=list)
    mask_iou: dict[str, float] = field(default_factory=dict)
    class_iou: dict[str, float] = field(default_factory=dict)
    span_iou: dict[str, float] = field(default_factory=dict)
    captions: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    sentences: int = 0
    notes: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The figures for JSON: means, and masks and spans by clip."""
        by_clip = {"mask_iou": self.mask_iou, "class_iou": self.class_iou, "span_iou": self.span_iou}
        means = {name: float(np.mean(list(values.values()))) for name, values in by_clip.items() if values}
        others = {"only_first": self.only_first, "only_second": self.only_second, "notes": self.notes}
        counts = {"clips": self.clips, "steps": self.steps, "sentences": self.sentences}
        return {**counts, **means, "captions": self.captions, **others, "by_clip": by_clip}


def measure_agreement(first: Path, second: Path, hop: float = 1.0) -> Agreement:
    """Compare two manifests by the names of their clips.

    Args:
        first: A manifest; its sentences are the reference.
        second: Another one of the same clips.
        hop: Seconds per step.

    Raises:
        DataError: If a manifest has a fault, or they have no clip in common.
    """
    lines = [{line.id: line for line in read_manifest(path, path.parent)} for path in (first, second)]
    shared = [name for name in lines[0] if name in lines[1]]
    if not shared:
        raise DataError(
            f"{first} and {second} have no clip in common. Clips are compared by their 'id'; export both from the same "
            "videos."
        )
    agreement = Agreement(clips=len(shared))
    agreement.only_first = [name for name in lines[0] if name not in lines[1]]
    agreement.only_second = [name for name in lines[1] if name not in lines[0]]
    classes = sorted({name for side in lines for line in side.values() for name in line.class_names})
    options = ReadOptions(image_size=_SIDE, hop=hop)
    readers = [ClipDataset([side[name] for name in shared], Vocabulary(classes=classes), options) for side in lines]
    scores = CaptionScores()
    for k, name in enumerate(shared):
        _compare_clip(agreement, readers, k, name, scores)
    if agreement.sentences:
        agreement.captions = {key: float(value) for key, value in scores.compute().items()}
        agreement.notes = dict(scores.notes)
    return agreement


def _compare_clip(
    agreement: Agreement, readers: Sequence[ClipDataset], k: int, name: str, scores: CaptionScores
) -> None:
    lines = [reader.annotations[k] for reader in readers]
    targets = []
    for reader, line in zip(readers, lines, strict=True):
        index = next(i for i, sample in enumerate(reader.samples) if sample.clip == k and sample.question is None)
        targets.append(reader.target_item(index, _FIELDS & line.fields).targets)
    if all("mask" in side for side in targets):
        both_masked = targets[0]["mask_known"] & targets[1]["mask_known"]
        ious = _ious(targets[0]["mask"][both_masked], targets[1]["mask"][both_masked], classes=1)
        if ious:
            agreement.mask_iou[name] = float(np.mean(ious))
            agreement.steps += int(both_masked.sum())
        if all("class_mask" in side for side in targets):
            count = len(readers[0].vocabulary.classes)
            ious = _ious(targets[0]["class_mask"][both_masked], targets[1]["class_mask"][both_masked], classes=count)
            if ious:
                agreement.class_iou[name] = float(np.mean(ious))
    if all(line.events is not None for line in lines):
        overlaps = _span_overlaps(*lines)
        if overlaps:
            agreement.span_iou[name] = float(np.mean(overlaps))
    if all("caption" in side for side in targets):
        pairs = [pair for pair in zip(targets[1]["caption"], targets[0]["caption"], strict=True) if all(pair)]
        if pairs:
            scores.update([pair[0] for pair in pairs], [pair[1] for pair in pairs], clips=[name] * len(pairs))
            agreement.sentences += len(pairs)


def _ious(first: Tensor, second: Tensor, classes: int) -> list[float]:
    """Overlaps of two maps (T, H, W) of values 1 to `classes`, of each step and value that one of them has."""
    ious = []
    for value in range(1, classes + 1):
        mine = (first == value).flatten(1)
        other = (second == value).flatten(1)
        union = (mine | other).sum(1)
        both = (mine & other).sum(1)
        ious += (both[union > 0] / union[union > 0]).tolist()
    return ious


def _span_overlaps(first: Annotation, second: Annotation) -> list[float]:
    """Overlap in time of each class that one of two lines has as heard."""
    overlaps = []
    for label in sorted({event.label for line in (first, second) for event in line.events or ()}):
        spans = [_spans(line, label) for line in (first, second)]
        edges = sorted({edge for side in spans for span in side for edge in span})
        both = 0.0
        union = 0.0
        for start, end in pairwise(edges):
            inside = [any(span[0] <= start and end <= span[1] for span in side) for side in spans]
            both += (end - start) * all(inside)
            union += (end - start) * any(inside)
        if union:
            overlaps.append(both / union)
    return overlaps


def _spans(line: Annotation, label: str) -> list[tuple[float, float]]:
    sounding = [event for event in line.events or () if event.label == label and event.modality != "visual"]
    return [(event.start, min(event.end, 1e9)) for event in sounding]
