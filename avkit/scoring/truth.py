# SPDX-License-Identifier: Apache-2.0
"""What predictions are scored against: the samples of a split with their targets, without pictures and sound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avkit.batch import Batch, Item, Vocabulary
from avkit.collate import collate
from avkit.datasets import Dataset, DatasetOptions, find_dataset
from avkit.datasets.official import Official
from avkit.outside import building
from avkit.tasks import find_task
from avkit.tasks.base import Task


@dataclass(frozen=True)
class TruthOptions:
    """Where the official files are, and how targets are made of them.

    Attributes:
        root: Folder of the dataset.
        manifest: File of clips, for the dataset `manifest`.
        release: Release of the annotations; the usual one where None.
        split: Split that is scored.
        image_size: Height and width of true masks in pixels.
        hop: Seconds per step, where the dataset leaves it open.
        size: Number of clips, for datasets that generate them.
        vocabulary: Names that a run was trained with, for datasets that have no names of their own.
    """

    root: Path | None = None
    manifest: Path | None = None
    release: str | None = None
    split: str = "test"
    image_size: int = 96
    hop: float | None = None
    size: int | None = None
    vocabulary: Vocabulary | None = None


class Truth:
    """The samples of one split that a task is scored on.

    Args:
        task: The task.
        dataset: The split.

    Attributes:
        ids: Ids of the samples in the official order.
        notes: How a file of predictions was read, where its reader had to decide something, one sentence each.
        fields: Targets that the task uses and the dataset has.

    Raises:
        DataError: If no sample has what the task is scored on.
    """

    def __init__(self, task: Task, dataset: Dataset) -> None:
        self.task = task
        self.dataset = dataset
        self.notes: list[str] = []
        self.fields = (frozenset(task.targets) | frozenset(task.optional)) & dataset.provides
        self._places: dict[str, int] = {}
        for index in dataset.indices(frozenset(task.targets)):
            self._places[dataset.sample_id(index)] = index
        self.ids = list(self._places)

    def with_options(self, options: Mapping[str, object]) -> "Truth":
        """The same samples for a task with other options, such as `captions=False`."""
        if not options:
            return self
        with building("task", type(self.task)):
            task = type(self.task)(self.task.vocabulary, **options)
        truth = Truth(task, self.dataset)
        truth.notes = self.notes
        return truth

    @property
    def classes(self) -> list[str]:
        """Names of the dataset's classes in index order, without background."""
        return self.task.vocabulary.classes

    @property
    def release(self) -> str:
        """Release of the annotations; empty where the dataset has none."""
        return self.dataset.release if isinstance(self.dataset, Official) else ""

    @property
    def official_n(self) -> int | None:
        """Samples of the official list; None where there is no such list."""
        return self.dataset.official_count

    def batch(self, ids: Sequence[str]) -> Batch:
        """Samples side by side, as in a test, with features of width 0."""
        items = []
        for name in ids:
            place = self._places[name]
            items.append(replace(self.dataset.target_item(place, self.fields), place=place))
        return collate(items, self.task.name)

    def item(self, name: str, *fields: str) -> Item:
        """A sample with some of its targets, without pictures and sound."""
        return self.dataset.target_item(self._places[name], frozenset(fields))

    def steps_of(self, name: str) -> int:
        """Number of steps of a sample."""
        return self.item(name).steps

    def place(self, name: str) -> int:
        """Number of a sample in the dataset."""
        return self._places[name]


def open_truth(task: str | None, dataset: str, options: TruthOptions) -> Truth:
    """The samples of a split of a dataset, of which no pictures and no sound need to be on disk.

    Args:
        task: Name of the task; None for the first whose usual dataset it is.
        dataset: Name of the dataset.
        options: Where its files are.

    Raises:
        ValueError: If a name is unknown, or the dataset needs a folder that is not given.
        DataError: If annotations, or the masks that are scored, are missing or damaged.
    """
    opened = _open_dataset(dataset, options)
    kind = find_task(task or "")
    if isinstance(opened, Official) and "mask" in kind.targets:
        opened.find_masks()
    with building("task", kind):
        built = kind(options.vocabulary or opened.vocabulary)
    return Truth(built, opened)


def _open_dataset(name: str, options: TruthOptions) -> Dataset:
    """A split, of which media are not looked for."""
    kind = find_dataset(name)
    with building("dataset", kind):
        if not issubclass(kind, Official):
            return kind.open(options.split, _dataset_options(options))
        if options.root is None:
            raise ValueError(f"Dataset {name!r} needs its official files. Name their folder with --root FOLDER.")
        own = options.root / kind.name
        return kind(
            own if own.is_dir() else options.root,
            options.split,
            options.image_size,
            options.release,
            options.hop,
            find_media=False,
        )


def _dataset_options(options: TruthOptions) -> DatasetOptions:
    return DatasetOptions(
        root=options.root,
        manifest=options.manifest,
        release=options.release,
        image_size=options.image_size,
        size=options.size,
        hop=options.hop,
        vocabulary=options.vocabulary,
    )
