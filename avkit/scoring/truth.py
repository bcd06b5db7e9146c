# SPDX-License-Identifier: Apache-2.0
"""What predictions are scored against: the samples of a split with their targets, without pictures and sound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avkit.batch import Batch, Item, Vocabulary
from avkit.collate import collate
from avkit.datasets import Dataset, DatasetOptions, find_dataset
from avkit.datasets.annotation_fields import FIELDS_BY_KEY
from avkit.datasets.clips import ClipDataset
from avkit.datasets.official import Official
from avkit.errors import DataError
from avkit.outside import building
from avkit.reading.remote import is_file, is_folder
from avkit.tasks import TASKS, VARIANTS, find_task
from avkit.tasks.base import Task

#: Height and width in pixels of true masks: that of the official code of AVSBench.
IMAGE_SIZE = 224


@dataclass(frozen=True)
class TruthOptions:
    """Where the official files are, and how targets are made of them.

    Attributes:
        root: Folder of the dataset.
        annotations: An annotation file, or its folder, instead of the root; for `manifest` the file of clips.
        release: Release of the annotations; the usual one where None.
        split: Split that is scored.
        image_size: Height and width of true masks in pixels; None for `IMAGE_SIZE`.
        hop: Seconds per step, where the dataset leaves it open.
        size: Number of clips, for datasets that generate them.
        vocabulary: Names that a run was trained with, for datasets that have no names of their own.
    """

    root: Path | None = None
    annotations: Path | None = None
    release: str | None = None
    split: str = "test"
    image_size: int | None = None
    hop: float | None = None
    size: int | None = None
    vocabulary: Vocabulary | None = None


class Truth:
    """The samples of one split that a task is scored on.

    Args:
        task: The task.
        dataset: The split.
        split: Its name.

    Attributes:
        ids: Ids of the samples in the official order.
        notes: How a file of predictions was read, where its reader had to decide something, one sentence each.
        fields: Targets that the task uses and the dataset has.

    Raises:
        DataError: If no sample has what the task is scored on.
    """

    def __init__(self, task: Task, dataset: Dataset, split: str) -> None:
        self.task = task
        self.dataset = dataset
        self.split = split
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
        truth = Truth(task, self.dataset, self.split)
        truth.notes = self.notes
        return truth

    @property
    def classes(self) -> list[str]:
        """Names of the dataset's classes in index order, without background."""
        return self.task.vocabulary.classes

    @property
    def title(self) -> str:
        """Dataset and split in print."""
        dataset = self.dataset
        name = dataset.title if isinstance(dataset, Official) else dataset.name or type(dataset).__name__
        return f"{name}, {self.split}"

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
        task: Name of the task; None for the usual one of the dataset.
        dataset: Name of the dataset.
        options: Where its files are.

    Raises:
        ValueError: If a name is unknown, or the dataset needs a folder that is not given.
        DataError: If annotations, or the masks that are scored, are missing or damaged.
    """
    opened = _open_dataset(dataset, options)
    kind = find_task(task or usual_task(opened))
    if isinstance(opened, Official) and "mask" in kind.targets:
        opened.find_masks()
    with building("task", kind):
        built = kind(options.vocabulary or _vocabulary(opened))
    return Truth(built, opened, options.split)


def usual_task(dataset: Dataset) -> str:
    """The task that a dataset is usually scored on: whose benchmark it is, or the one that uses most of its targets.

    Raises:
        ValueError: If no task has all of its targets there.
    """
    provided = _targets_of(dataset)
    best: tuple[bool, int] | None = None
    usual = ""
    for name in TASKS:
        kind = find_task(name)
        rank = (kind.benchmark == dataset.name, len(kind.targets))
        if name not in VARIANTS and set(kind.targets) <= provided and (best is None or rank > best):
            best = rank
            usual = name
    if not usual:
        raise ValueError(f"No task has all of its targets in dataset {dataset.name!r}. Name one with --task.")
    return usual


def _targets_of(dataset: Dataset) -> set[str]:
    """Targets of a dataset, with those of masks that are still to be looked for."""
    if not isinstance(dataset, Official):
        return set(dataset.provides)
    targets: set[str] = set()
    for annotation in dataset.annotations:  # `provides` would be kept as it is before masks are found
        targets |= annotation.fields
        if annotation.mask_steps:
            targets |= FIELDS_BY_KEY["masks"]
    return targets


def _vocabulary(dataset: Dataset) -> Vocabulary:
    """The dataset's names; true answers that are not among its answers stand behind them, so that they may be right."""
    vocabulary = dataset.vocabulary
    if not isinstance(dataset, ClipDataset) or not vocabulary.answers:
        return vocabulary
    answers = dict.fromkeys(vocabulary.answers)
    for annotation in dataset.annotations:
        answers.update(dict.fromkeys(question.answer for question in annotation.questions or ()))
    return replace(vocabulary, answers=list(answers))


def _open_dataset(name: str, options: TruthOptions) -> Dataset:
    """A split, of which media are not looked for."""
    kind = find_dataset(name)
    with building("dataset", kind):
        if not issubclass(kind, Official):
            return kind.open(options.split, _dataset_options(options))
        root = options.root or options.annotations
        if root is None:
            raise ValueError(
                f"Dataset {name!r} needs its official files, without media. Name their folder with --root FOLDER, or "
                "the file with --annotations FILE."
            )
        file = root if is_file(root) else None
        root = root.parent if file else root
        own = root / kind.name
        dataset = kind(
            own if is_folder(own) else root,
            options.split,
            options.image_size or IMAGE_SIZE,
            options.release,
            options.hop,
            find_media=False,
        )
    if file is not None:
        _check_read(file, dataset)
    return dataset


def _check_read(file: Path, dataset: Official) -> None:
    """Refuse an annotation file that is not of the split; others in its folder may have been read in its place."""
    read = dataset.annotation_files
    others = [split for split in dataset.splits if split != dataset.split]
    is_first = file.samefile(read[0])
    of_another = any(split in file.name for split in others)
    if is_first or (not of_another and any(file.samefile(path) for path in read)):
        return
    raise DataError(
        f"{file} is not the list of {dataset.title}, split {dataset.split!r}, for which {read[0].name} beside it is "
        "read. Name the list of the split, or another --split."
    )


def _dataset_options(options: TruthOptions) -> DatasetOptions:
    return DatasetOptions(
        root=options.root,
        manifest=options.annotations,
        release=options.release,
        image_size=options.image_size or IMAGE_SIZE,
        size=options.size,
        hop=options.hop,
        vocabulary=options.vocabulary,
    )
