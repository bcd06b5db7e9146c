# SPDX-License-Identifier: Apache-2.0
"""The labels of a clip put together from its items, and what is still missing of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.annotation.folder import Folder, LabelledClip
from avkit.annotation.rows import Item
from avkit.annotation.values import ClipShape, read_mask
from avkit.errors import count_of

#: Steps that a message names.
_SHOWN = 5


@dataclass
class ObjectLabels:
    """What is accepted of one object; proposals are counted alone.

    Attributes:
        number: Its number, which is its pixel value in masks.
        name: Its class.
        spans: When it sounds, start and end in seconds.
        masks: Values of masks by step; of an empty mask where it is not in view.
        sentences: Sentence by the step from which it holds.
        proposals: Number of proposals that nobody has accepted or deleted.
    """

    number: int
    name: str = ""
    spans: list[tuple[float, float]] = field(default_factory=list)
    masks: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    sentences: dict[int, str] = field(default_factory=dict)
    proposals: int = 0

    def mask(self, step: int) -> NDArray[np.bool_]:
        """The mask (H, W) of a step that has one."""
        return read_mask(self.masks[step])


@dataclass
class ClipLabels:
    """The labels of a clip.

    Attributes:
        clip: The clip.
        shape: Its steps, length and size of masks.
        hop: Seconds per step.
        match: Whether sound and picture belong together: yes, no, unclear, or None before somebody says so.
        objects: Objects in the order of their numbers.
        sentences: Sentences about all that sounds, by the step from which they hold.
        proposals: Number of proposals in all.
    """

    clip: LabelledClip
    shape: ClipShape
    hop: float
    match: str | None = None
    objects: list[ObjectLabels] = field(default_factory=list)
    sentences: dict[int, str] = field(default_factory=dict)
    proposals: int = 0

    @property
    def is_untouched(self) -> bool:
        """Whether nobody has labelled anything of the clip."""
        return self.match is None and not self.objects and not self.sentences

    def sounding(self, entry: ObjectLabels) -> list[bool]:
        """Whether an object sounds in each step, see `sounding_steps`."""
        return sounding_steps(entry.spans, self.shape.steps, self.hop)

    def sentence(self, sentences: dict[int, str], step: int) -> str:
        """The sentence that holds in a step; empty where none does."""
        starts = [start for start in sentences if start <= step]
        return sentences[max(starts)] if starts else ""

    def known_steps(self) -> list[int]:
        """Steps in which every sounding object has its mask."""
        missing = {step for entry in self.objects for step in self._missing_masks(entry)}
        return [step for step in range(self.shape.steps) if step not in missing]

    def gaps(self) -> list[str]:
        """What is missing before the clip is labelled, in words."""
        gaps = []
        if self.match is None:
            gaps.append("nobody has said whether sound and picture match")
        elif self.match == "unclear":
            gaps.append("whether sound and picture match is unclear")
        if not self.objects:
            gaps.append("it has no object")
        if self.proposals:
            gaps.append(f"{count_of(self.proposals, 'proposal waits', 'proposals wait')} to be accepted or deleted")
        for entry in self.objects:
            gaps += self._object_gaps(entry)
        return gaps

    def _missing_masks(self, entry: ObjectLabels) -> list[int]:
        return [k for k, sounds in enumerate(self.sounding(entry)) if sounds and k not in entry.masks]

    def _object_gaps(self, entry: ObjectLabels) -> list[str]:
        sounding = self.sounding(entry)
        if not any(sounding):
            return [f"object {entry.number} ({entry.name}) has no sounding span"]
        gaps = []
        masks = self._missing_masks(entry)
        if masks:
            gaps.append(f"object {entry.number} ({entry.name}) has no mask in {_steps(masks)}")
        silent = []
        for step, sounds in enumerate(sounding):
            text = self.sentence(entry.sentences, step) or self.sentence(self.sentences, step)
            if sounds and not text:
                silent.append(step)
        if silent:
            gaps.append(f"object {entry.number} ({entry.name}) has no sentence in {_steps(silent)}")
        return gaps


def _steps(steps: Sequence[int]) -> str:
    """Steps as the page numbers them, from 1."""
    names = ", ".join(str(step + 1) for step in steps[:_SHOWN])
    more = ", ..." if len(steps) > _SHOWN else ""
    return f"step{'s' if len(steps) > 1 else ''} {names}{more}"


def sounding_steps(spans: Sequence[tuple[float, float]], count: int, hop: float) -> list[bool]:
    """Whether an object sounds in each step: in the step's middle, or it sounds nowhere but within the step.

    Args:
        spans: When it sounds, start and end in seconds.
        count: Number of steps.
        hop: Seconds per step.
    """
    steps = [False] * count
    for start, end in spans:
        covered = [k for k in range(count) if start <= (k + 0.5) * hop < end]
        for k in covered or [min(int((start + end) / 2 / hop), count - 1)]:
            steps[k] = True
    return steps


def read_labels(folder: Folder, clip: LabelledClip, *, brief: bool = False) -> ClipLabels:
    """The labels of a clip as they are now; `brief` without the pixels of masks, of which it says where they are."""
    return make_labels(clip, folder.shape(clip), folder.hop, folder.store.items(clip.number, brief=brief))


def make_labels(clip: LabelledClip, shape: ClipShape, hop: float, items: Sequence[Item]) -> ClipLabels:
    """The labels that items say; proposals are counted and left out, and so is what was made with other steps."""
    labels = ClipLabels(clip, shape, hop)
    objects: dict[int, ObjectLabels] = {}
    for item in items:
        if item.key.kind == "object" and item.value is not None:
            objects[item.key.object] = ObjectLabels(item.key.object, item.value["name"])
    for item in items:
        entry = objects.get(item.key.object)
        if item.value is None or item.key.step >= shape.steps:
            continue
        if "proposed" in item.value:
            labels.proposals += 1
            if entry is not None:
                entry.proposals += 1
        else:
            _add(labels, entry, item)
    labels.objects = [objects[number] for number in sorted(objects)]
    return labels


def _add(labels: ClipLabels, entry: ObjectLabels | None, item: Item) -> None:
    """Add an accepted item."""
    assert item.value is not None
    kind = item.key.kind
    if kind == "clip":
        labels.match = item.value["match"]
    elif kind == "sentence":
        sentences = labels.sentences if entry is None else entry.sentences
        sentences[item.key.step] = item.value["text"]
    elif kind == "spans" and entry is not None:
        entry.spans = [(start, end) for start, end in item.value["spans"]]
    elif kind == "mask" and entry is not None and item.value["size"] == list(labels.shape.size):
        entry.masks[item.key.step] = item.value
