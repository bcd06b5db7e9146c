# SPDX-License-Identifier: Apache-2.0
"""Lightning's data module: datasets to batches of one task each, in an order that survives being killed."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import lightning as L
import torch

from avkit.batch import Batch
from avkit.datasets import DatasetOptions, find_dataset
from avkit.datasets.splits import SplitOptions
from avkit.tasks import split_names
from avkit.training.epoch import EpochLength, epoch_length
from avkit.training.feature_check import check_stored_features
from avkit.training.items import SampleKey, TaskItems
from avkit.training.limits import BatchLimits
from avkit.training.loader import PlanLoader, SharedLoader, collate_task_items
from avkit.training.options import (
    NO_CROP,
    BatchSizeOptions,
    CropOptions,
    FeatureOptions,
    LoaderOptions,
    SceneOptions,
    check_positive,
)
from avkit.training.run_datasets import RunDatasets
from avkit.training.sampler import BatchPlan, dataset_shares, task_weights
from avkit.training.sources import choose_datasets, find_expert, open_expert
from avkit.training.task_spec import task_specs


class AVDataModule(RunDatasets, L.LightningDataModule):
    """The data of a run.

    Args:
        tasks: Task names, separated by commas; set by `--tasks`.
        whole_clips: Never crop trimmed clips; set by the command line for systems that read them whole.
        dataset: A dataset for all tasks, or one for each, such as avs=avsbench-s4,avqa=scenes; several of a task are
            joined by +, such as avs=avsbench-s4+avsbench-ms3, trained on together and scored apart. A task that is not
            named gets its usual dataset if `root` is given, else the built-in scenes. A dataset from outside is
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
        dataset_mix: How often each of a task's datasets is drawn where it has several: proportional (to its samples),
            uniform, temperature or temperature=T (between the two), or weights such as avsbench-s4=2,avsbench-ms3=1.
        steps_per_epoch: Training steps between two validations; by default as many as there are batches in one pass
            over the training clips of all tasks and datasets. Scenes have no size: 430, and 240 more for each task
            after three.
        seed: Seed of the order of batches, and of the world of scenes.
    """

    def __init__(
        self,
        tasks: str = "",
        *,
        whole_clips: bool = False,
        dataset: str | dict[str, str | list[str]] | None = None,
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
        dataset_mix: str = "proportional",
        steps_per_epoch: int | None = None,
        seed: int = 0,
    ) -> None:
        names = split_names(tasks) if tasks else []
        specs = task_specs(names, whole_clips=whole_clips)
        if manifest and dataset is None:
            dataset = "manifest"
        usual = {task: spec.benchmark for task, spec in specs.items()}
        sources = DatasetOptions(
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
        dataset_names = choose_datasets(usual, dataset, root)
        super().__init__(specs, dataset_names, sources, scenes, None if hop is None else str(hop))
        expert = find_expert(features.expert, sources.root, self.all_datasets) if features.expert else None
        self.missing_for_training = check_stored_features(self.all_datasets, self.sources, expert)
        self.expert = open_expert(expert) if expert else None
        self.batch_size = batch_size
        self.crop = crop
        self.loader = loader
        self.mix = mix
        self.dataset_mix = dataset_mix
        if steps_per_epoch is not None:
            check_positive("data.steps_per_epoch", steps_per_epoch)
        self.steps_per_epoch = steps_per_epoch
        #: Lightning's limits of batches.
        self.limits = BatchLimits()

    def _training_batches(self) -> dict[str, int]:
        """The batch sizes that training uses, by their option."""
        names = dict.fromkeys(self.batch_size.name_for_training(spec) for spec in self.specs.values())
        return {f"data.batch_size.{name}": vars(self.batch_size)[name] for name in names}

    def check_sharing(self, processes: int) -> None:
        """Refuse a number of processes among which a batch cannot be shared.

        Raises:
            ValueError: With the nearest number that can.
        """
        for option, size in self._training_batches().items():
            if size < processes:
                raise ValueError(
                    f"{option} is {size}, and {processes} processes cannot share so few clips. Use {size} processes at "
                    f"most, or --{option} {processes}."
                )

    def sharing_notes(self, processes: int) -> list[str]:
        """How batches are shared that a number of processes cannot share evenly, one sentence each."""
        notes = []
        for option, size in self._training_batches().items():
            each, extra = divmod(size, processes)
            if extra:
                shares = "+".join(str(each + (rank < extra)) for rank in range(processes))
                notes.append(f"{option} {size} is shared by {processes} processes as {shares} clips.")
        return notes

    @cached_property
    def expert_width(self) -> int | None:
        """Width of the features of a large vision-language model; None if there are none."""
        return None if self.expert is None else int(self.expert.shape[0])

    @cached_property
    def epoch(self) -> EpochLength:
        """Training steps per epoch before Lightning's limits, and where the number comes from."""
        if self.steps_per_epoch is not None:
            return EpochLength(self.steps_per_epoch, "data.steps_per_epoch")
        passes = {name: self.batches_per_pass(name) for name in self.benchmarks if not self._is_generated(name)}
        scene_tasks = {benchmark.task for name, benchmark in self.benchmarks.items() if name not in passes}
        return epoch_length(passes, len(scene_tasks))

    @property
    def steps(self) -> int:
        """Training steps per epoch."""
        return self.limits.steps(self.epoch.steps)

    def batches_per_pass(self, benchmark: str) -> int:
        """Training batches in one pass over the clips of a benchmark."""
        size = self.batch_size.for_training(self.spec(benchmark))
        return math.ceil(len(self.indices("train", benchmark)) / size)

    def _is_generated(self, benchmark: str) -> bool:
        return find_dataset(self.benchmarks[benchmark].dataset).generated

    def training_sizes(self) -> dict[str, int]:
        """Number of training samples by benchmark."""
        return {name: len(self.indices("train", name)) for name in self.benchmarks}

    def shares(self) -> dict[str, float]:
        """Share of the training steps that each benchmark takes, once delayed tasks have begun."""
        sizes: dict[str, dict[str, int]] = {task: {} for task in self.specs}
        for name, size in self.training_sizes().items():
            benchmark = self.benchmarks[name]
            sizes[benchmark.task][benchmark.dataset] = size
        of_task = {task: sum(by_dataset.values()) for task, by_dataset in sizes.items()}
        weights = task_weights(of_task, self.mix, {task: spec.sampling_weight for task, spec in self.specs.items()})
        within = dataset_shares(sizes, self.dataset_mix)
        return {
            name: weights[benchmark.task] * within[benchmark.task][benchmark.dataset]
            for name, benchmark in self.benchmarks.items()
        }

    def first_batches(self, split: str, count: int) -> dict[str, list[Batch]]:
        """Batches of the first `count` samples of each benchmark, uncropped, for baselines."""
        numbers = {name: self.indices(split, name)[:count] for name in self.benchmarks}
        return self.batches_of(split, numbers, self.batch_size.trimmed)

    def batches_of(
        self, split: str, numbers: Mapping[str, Sequence[int]], size: int, crop: CropOptions = NO_CROP
    ) -> dict[str, list[Batch]]:
        """Batches of given samples of each benchmark.

        Args:
            split: Of the data.
            numbers: Numbers of the samples in the dataset of their benchmark, by benchmark.
            size: Samples per batch.
            crop: Longest clips.
        """
        items = self._items(split, crop)
        batches = {}
        for name, chosen in numbers.items():
            samples = [items[SampleKey(name, number, 0.0)] for number in chosen]
            batches[name] = [collate_task_items(samples[i : i + size]) for i in range(0, len(samples), size)]
        return batches

    def train_dataloader(self) -> PlanLoader:
        """Batches in the order of the plan, which depends on seed and step only."""
        indices = {name: self.indices("train", name) for name in self.benchmarks}
        items = self._items("train", self.crop)
        plan = self._plan()
        loader = PlanLoader(items, plan, indices, self.steps, self.loader, repeat=bool(self.limits.overfit))
        if self.trainer:  # Lightning restores a loader's state only in the middle of an epoch, not between two
            loader.start_at(self.trainer.fit_loop.total_batch_idx + 1)
        return loader

    def val_dataloader(self) -> SharedLoader:
        """The validation split, task by task."""
        return self._in_order("val")

    def test_dataloader(self) -> SharedLoader:
        """The test split, task by task."""
        return self._in_order("test")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """The batch on the device; the CPU goes on while it is copied."""
        return batch.to(device, non_blocking=True)

    def limit(self, limits: BatchLimits) -> None:
        """Use a part of the batches; `steps` raises ValueError if none are left."""
        self.limits = limits

    def _plan(self) -> BatchPlan:
        delayed = []
        if self.mix == "sampling_weight":
            delayed = [name for name in self.benchmarks if self.spec(name).weakly_supervised]
        rank, world_size = self._rank_and_world_size()
        parts = {name: divmod(self.batch_size.for_training(self.spec(name)), world_size) for name in self.benchmarks}
        return BatchPlan(
            self.training_sizes(),
            {name: size for name, (size, _) in parts.items()},
            self.shares(),
            self.sources.seed,
            rank=rank,
            world_size=world_size,
            delayed=delayed,
            delay=self.steps // 2,
            extra={name: extra for name, (_, extra) in parts.items()},
        )

    def _in_order(self, split: str) -> SharedLoader:
        batches = []
        for name in self.benchmarks:
            keys = [SampleKey(name, index, 0.0) for index in self.indices(split, name)]
            size = self.batch_size.for_evaluation(self.spec(name))
            of_task = [keys[i : i + size] for i in range(0, len(keys), size)]
            batches += of_task[: self.limits.evaluated(split, len(of_task))]
        return SharedLoader(self._items(split, NO_CROP), batches, self.loader, *self._rank_and_world_size())

    def _items(self, split: str, crop: CropOptions) -> TaskItems:
        datasets = {name: self.split(split, name) for name in self.benchmarks}
        return TaskItems(datasets, {name: self.spec(name) for name in self.benchmarks}, crop, self.expert)

    def _rank_and_world_size(self) -> tuple[int, int]:
        """The number of this process, and how many processes train together."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
