# SPDX-License-Identifier: Apache-2.0
"""What readers of other people's files ask of the truth: ids of all splits, names of classes, steps of clips."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from avkit.datasets.official import Official
from avkit.errors import DataError
from avkit.scoring.formats.ids import SampleIds
from avkit.scoring.formats.labels import ClassNames
from avkit.scoring.truth import Truth


class ClipSteps(NamedTuple):
    """The steps of a clip.

    Attributes:
        number: Their number.
        hop: Seconds per step.
    """

    number: int
    hop: float

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.number * self.hop


def title_of(truth: Truth) -> str:
    """Dataset and split in print."""
    dataset = truth.dataset
    if isinstance(dataset, Official):
        return f"{dataset.title}, {dataset.split}"
    return dataset.name or type(dataset).__name__


def sample_ids(truth: Truth) -> SampleIds:
    """The ids that are scored, and where it is asked for those of other splits."""
    return SampleIds(truth.ids, title_of(truth), lambda: _ids_of_other_splits(truth))


def class_names(truth: Truth, *, background: bool = False) -> ClassNames:
    """The names of classes; with background as the last index, as in the files of AVE."""
    count = len(truth.classes)
    return ClassNames(truth.classes, title_of(truth).partition(",")[0], count if background else None)


def clip_steps(truth: Truth) -> dict[str, ClipSteps]:
    """The steps of every clip."""
    steps = {}
    for name in truth.ids:
        item = truth.item(name)
        steps[name] = ClipSteps(item.steps, item.hop)
    return steps


def _ids_of_other_splits(truth: Truth) -> Mapping[str, Iterable[str]]:
    """Ids of the other splits whose lists are there."""
    return {split: [other.sample_id(index) for index in range(len(other))] for split, other in other_splits(truth)}


def other_splits(truth: Truth) -> Iterator[tuple[str, Official]]:
    """The other splits whose lists are there, by name, without media."""
    dataset = truth.dataset
    if not isinstance(dataset, Official):
        return
    for split in dataset.splits:
        if split == dataset.split:
            continue
        try:
            other = type(dataset)(dataset.root.path, split, release=dataset.release, find_media=False)
        except DataError:  # its list is not there
            continue
        yield split, other
