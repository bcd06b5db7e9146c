# SPDX-License-Identifier: Apache-2.0
"""Lightning's data module: datasets to batches of one task each, in an order that survives being killed."""

from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

import lightning as L

from avkit.batch import Batch, Vocabulary, join_vocabularies
from avkit.collate import collate
from avkit.datasets import Dataset, DatasetOptions
from avkit.datasets.splits import SplitOptions
from avkit.errors import EmptySplitError
from avkit.tasks import split_names
from avkit.training.feature_check import check_stored_features
from avkit.training.items import SampleKey, TaskItems
from avkit.training.limits import BatchLimits
from avkit.training.loader import OrderedLoader, PlanLoader
from avkit.training.options import (
    NO_CROP,
    BatchSizeOptions,
    CropOptions,
    FeatureOptions,
    LoaderOptions,
    SceneOptions,
    check_positive,
    share_batch,
)
from avkit.training.sampler import BatchPlan, task_weights
from avkit.training.sources import choose_datasets, open_dataset, open_expert, stored_widths
from avkit.training.task_spec import task_specs

#: Training steps between two validations with up to three tasks.
_STEPS = 430
#: Further steps for each task after the third.
_STEPS_PER_TASK = 240


class AVDataModule(L.LightningDataModule):
    """The data of a run.

    Args:
        tasks: Task names, separated by commas; set by `--tasks`.
        whole_clips: Never crop trimmed clips; set by the command line for systems that read them whole.
        dataset: A dataset for all tasks, or one for each, such as avs=avsbench-s4,avqa=scenes. A task that is not named
            gets its usual dataset if `root` is given, else the built-in scenes. A dataset from outside is
            package.module:Class.
        root: Folder of data on disk; of several datasets each in a folder of its name.
        manifest: A JSON Lines file of your own clips.
        release: Release of the annotations, for one dataset or for several such as ave=weak,llp=official.
        features: Stored features to read instead of pictures and sound.
        allow_missing: Leave out clips that are not on disk, empty, or without picture or sound; the report says how
            many there were.
        silent_ok: Use silence for videos without sound.
        hop: Seconds per step where a dataset leaves it open, and between two rows of stored features that do not say
            it; for one dataset, or for several such as unav100=0.32,manifest=1.
        splits: How clips of a manifest are split where its lines do not say it.
        image_size: Height and width of pictures in pixels.
        batch_size: Clips per training step.
        crop: Longest training clips.
        scenes: Sizes of the built-in dataset.
        loader: How samples are read.
        mix: How often each task is drawn: sampling_weight (each task's own), uniform, proportional (to its samples),
            temperature or temperature=T (between the two), or weights such as avs=2,avqa=1.
        steps_per_epoch: Training steps between two validations; by default 430, and 240 more for each task after three.
        seed: Seed of the order of batches, and of the world of scenes.
    """

    def __init__(
        self,
        tasks: str = "",
        *,
        whole_clips: bool = False,
        dataset: str | None = None,
        root: str | None = None,
        manifest: str | None = None,
        release: str | None = None,
        features: FeatureOptions = FeatureOptions(),
        allow_missing: bool = False,
        silent_ok: bool = False,
        hop: float | str | None = None,
        splits: SplitOptions = SplitOptions(),
        image_size: int = 64,
        batch_size: BatchSizeOptions = BatchSizeOptions(),
        crop: CropOptions = CropOptions(),
        scenes: SceneOptions = SceneOptions(),
        loader: LoaderOptions = LoaderOptions(),
        mix: str = "sampling_weight",
        steps_per_epoch: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        names = split_names(tasks) if tasks else []
        self.specs = task_specs(names, whole_clips=whole_clips)
        if manifest and dataset is None:
            dataset = "manifest"
        benchmarks = {task: spec.benchmark for task, spec in self.specs.items()}
        #: Name of each task's dataset.
        self.dataset_names = choose_datasets(benchmarks, dataset, root)
        #: Where data come from.
        self.sources = DatasetOptions(
            root=Path(root) if root else None,
            manifest=Path(manifest) if manifest else None,
            release=release,
            visual=features.visual,
            audio=features.audio,
            allow_missing=allow_missing,
            silent_ok=silent_ok,
            splits=splits,
            image_size=image_size,
            seed=seed,
        )
        self.hop = None if hop is None else str(hop)
        self.scenes = scenes
        check_stored_features(self.dataset_names.values(), self.sources, features.expert)
        self.expert = open_expert(features.expert) if features.expert else None
        self.batch_size = batch_size
        self.crop = crop
        self.loader = loader
        self.mix = mix
        if steps_per_epoch is None:
            steps_per_epoch = _STEPS + _STEPS_PER_TASK * max(0, len(names) - 3)
        check_positive("data.steps_per_epoch", steps_per_epoch)
        #: Training steps per epoch.
        self.steps = steps_per_epoch
        #: The split that says what the data are; of a manifest without training clips another.
        self.reference = "train"
        #: Lightning's limits of batches.
        self.limits = BatchLimits()
        self._splits: dict[tuple[str, str], Dataset] = {}

    @property
    def dataset(self) -> str:
        """Names of all datasets, joined by `+`."""
        return "+".join(dict.fromkeys(self.dataset_names.values()))

    def split(self, split: str, task: str | None = None) -> Dataset:
        """The dataset of a task's split, the first task's by default; it is opened once."""
        first = next(iter(self.dataset_names.values()), "scenes")
        name = first if task is None else self.dataset_names[task]
        if (name, split) not in self._splits:
            names = self.dataset_names.values()
            self._splits[name, split] = open_dataset(name, split, self.sources, self.scenes, names, self.hop)
        return self._splits[name, split]

    def use_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Read a manifest without training clips by the names that a run was trained with."""
        try:
            self.split("train")
        except EmptySplitError:
            self.sources = replace(self.sources, vocabulary=vocabulary)
            self.reference = "test"
            vars(self)["vocabulary"] = vocabulary

    def notes(self) -> list[str]:
        """What a reader of figures must know of the data, one sentence each."""
        notes: dict[str, None] = {}
        for name in dict.fromkeys(self.dataset_names.values()):
            task = next(task for task, dataset in self.dataset_names.items() if dataset == name)
            notes |= dict.fromkeys(self.split(self.reference, task).notes)
        return list(notes)

    def sharing_notes(self, processes: int) -> list[str]:
        """How batches are shared that a number of processes cannot share evenly, one sentence each."""
        names = dict.fromkeys(self.batch_size.name_for_training(spec) for spec in self.specs.values())
        notes = []
        for name in names:
            size = vars(self.batch_size)[name]
            each, extra = share_batch(size, processes)
            if size < processes:
                notes.append(
                    f"data.batch_size.{name} is {size}, fewer than the {processes} processes; each takes one clip, "
                    f"{processes} in a step."
                )
            elif extra:
                shares = "+".join(str(each + (rank < extra)) for rank in range(processes))
                notes.append(f"data.batch_size.{name} {size} is shared by {processes} processes as {shares} clips.")
        return notes

    def split_label(self, split: str, task: str) -> str:
        """Name of a task's split for tables, which says so where it was drawn, or is the list of another split."""
        dataset = self.split(split, task)
        if dataset.listed_split:
            return f"{split}, the {dataset.listed_split} list"
        facts = dataset.split_facts
        return f"{split}, drawn" if facts is not None and facts.drawn else split

    def split_facts(self) -> dict[str, dict[str, object]]:
        """How splits were made that the datasets do not state, by name of the dataset."""
        facts = {}
        for task, name in self.dataset_names.items():
            split_facts = self.split(self.reference, task).split_facts
            if split_facts is not None:
                facts[name] = asdict(split_facts)
        return facts

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Classes, answers and words of the datasets, as their training splits define them."""
        if not self.dataset_names:
            return self.split("train").vocabulary
        return join_vocabularies({task: self.split("train", task).vocabulary for task in self.dataset_names})

    @cached_property
    def feature_widths(self) -> dict[str, list[int]] | None:
        """Widths of stored visual and audio features by task, 0 for pictures and sound; None if no task reads any."""
        widths = {task: stored_widths(self.split(self.reference, task)) for task in self.specs}
        return widths if any(map(any, widths.values())) else None

    @cached_property
    def expert_width(self) -> int | None:
        """Width of the features of a large vision-language model; None if there are none."""
        return None if self.expert is None else int(self.expert.shape[0])

    def indices(self, split: str, task: str) -> list[int]:
        """Numbers of the samples of a split that have the targets of a task.

        Raises:
            ValueError: If the dataset lacks targets of the task, or no sample has all of them.
        """
        spec = self.specs[task]
        dataset = self.split(split, task)
        required = spec.targets_of(split)
        missing = sorted(required - dataset.provides)
        if missing:
            raise ValueError(
                f"Task {task!r} reads {', '.join(sorted(required))}; dataset {self.dataset_names[task]!r} has no "
                f"{', '.join(missing)}. It has {', '.join(sorted(dataset.provides))}. Leave {task!r} out of --tasks or "
                "add them."
            )
        indices = dataset.indices(spec.required_for_training)
        if not indices:
            raise ValueError(
                f"No sample of dataset {self.dataset_names[task]!r} has all that task {task!r} reads: "
                f"{', '.join(sorted(spec.required_for_training))}."
            )
        return indices

    def coverage(self, split: str, task: str) -> int:
        """Samples of a task's split that the official files list, on disk or not; else those that can be read."""
        return len(self.indices(split, task)) + len(self.split(split, task).missing)

    def first_batches(self, split: str, count: int, size: int | None = None) -> dict[str, list[Batch]]:
        """Batches of the first `count` samples of each task, uncropped, for baselines and examples.

        Args:
            split: Of the data.
            count: Samples of each task at most.
            size: Samples per batch; those of a training step where None.
        """
        items = self._items(split, NO_CROP)
        size = size or self.batch_size.trimmed
        batches = {}
        for task in self.specs:
            samples = [items[SampleKey(task, index, 0.0)][1] for index in self.indices(split, task)[:count]]
            batches[task] = [collate(samples[i : i + size], task) for i in range(0, len(samples), size)]
        return batches

    def train_dataloader(self) -> PlanLoader:
        """Batches in the order of the plan, which depends on seed and step only."""
        indices = {task: self.indices("train", task) for task in self.specs}
        items = self._items("train", self.crop)
        plan = self._plan({task: len(numbers) for task, numbers in indices.items()})
        loader = PlanLoader(items, plan, indices, self.steps, self.loader, repeat=bool(self.limits.overfit))
        if self.trainer:  # Lightning restores a loader's state only in the middle of an epoch, not between two
            loader.start_at(self.trainer.fit_loop.total_batch_idx + 1)
        return loader

    def val_dataloader(self) -> OrderedLoader:
        """The validation split, task by task."""
        return self._in_order("val")

    def test_dataloader(self) -> OrderedLoader:
        """The test split, task by task."""
        return self._in_order("test")

    def limit(self, limits: BatchLimits) -> None:
        """Use a part of the batches.

        Raises:
            ValueError: If none are left.
        """
        self.limits = limits
        self.steps = limits.steps(self.steps)

    def _plan(self, sizes: dict[str, int]) -> BatchPlan:
        delayed = []
        if self.mix == "sampling_weight":
            delayed = [task for task, spec in self.specs.items() if spec.weakly_supervised]
        rank, world_size = self._rank_and_world_size()
        shares = {
            task: share_batch(self.batch_size.for_training(spec), world_size) for task, spec in self.specs.items()
        }
        return BatchPlan(
            sizes,
            {task: size for task, (size, _) in shares.items()},
            task_weights(sizes, self.mix, {task: spec.sampling_weight for task, spec in self.specs.items()}),
            self.sources.seed,
            rank=rank,
            world_size=world_size,
            delayed=delayed,
            delay=self.steps // 2,
            extra={task: extra for task, (_, extra) in shares.items()},
        )

    def _in_order(self, split: str) -> OrderedLoader:
        rank, world_size = self._rank_and_world_size()
        batches = []
        for task, spec in self.specs.items():
            keys = [SampleKey(task, index, 0.0) for index in self.indices(split, task)[rank::world_size]]
            size = self.batch_size.for_evaluation(spec)
            task_batches = [keys[i : i + size] for i in range(0, len(keys), size)]
            batches += task_batches[: self.limits.evaluated(split, len(task_batches))]
        return OrderedLoader(self._items(split, NO_CROP), batches, self.loader)

    def _items(self, split: str, crop: CropOptions) -> TaskItems:
        datasets = {task: self.split(split, task) for task in self.specs}
        return TaskItems(datasets, self.specs, crop, self.expert)

    def _rank_and_world_size(self) -> tuple[int, int]:
        """The number of this process, and how many processes train together."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
