# SPDX-License-Identifier: Apache-2.0
"""Datasets to batches of one task each, in an order that survives being killed."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from avkit.batch import Batch, Vocabulary, join_vocabularies
from avkit.collate import collate
from avkit.datasets import Dataset, find_dataset
from avkit.errors import DataError, unknown_name
from avkit.features.store import Store
from avkit.tasks import find_task
from avkit.training.loader import PlanLoader, Reads, TaskItems, collate_pairs, give_way
from avkit.training.sampler import BatchPlan, task_weights

#: Steps between two validations with up to three tasks, and for each further one.
_STEPS, _MORE_STEPS = 430, 240


class AVDataModule(L.LightningDataModule):
    """The data of a run.

    Args:
        tasks: Task names; set by `--tasks`.
        fields: Targets each task needs and may use; set by the command line from the tasks themselves.
        dataset: A name for all tasks, or one for each, such as avs=avsbench-s4,avqa=scenes. Left out: each task's usual
            benchmark where `root` is given, else the manifest where one is given, else `scenes`.
        root: Folder of the data on disk: of one dataset, or with a folder for each, called by its name. Media paths of
            a manifest are relative to it.
        manifest: A JSON Lines file of your own clips; naming one chooses the dataset `manifest`.
        release: Release of the annotations, or several such as music-avqa=by-video,llp=2020.
        visual: Stored features to read instead of pictures: names of the dataset's own, a store, or a folder of .npy;
            for one dataset or for several such as llp=res152,unav100=rgb+flow.
        audio: Stored features to read instead of sound, likewise.
        expert: Store with what a large vision-language model made of the clips, for systems with an expert of captions;
            see 'avkit extract --recipe llava'. Clips without are left to the caption decoder.
        allow_missing: Leave out clips that are not on disk, and say in the report how many there were.
        batch_size: Clips per step, for tasks that answer step by step and are trained on crops; several processes
            share them out.
        whole_batch: Clips per step for tasks that need whole clips, each with all of its questions.
        long_batch: Clips per step for tasks on untrimmed clips, each cut to `window`.
        steps_per_epoch: Training steps between two validations; where not given 430, and 240 for each task after three.
        mix: How often each task is drawn: need (as much as the task itself says it needs), uniform, proportional (to
            its samples), temperature or temperature=T (between the two), or weights such as avs=2,avqa=1.
        workers: Worker processes that read or render.
        picture: Height and width of the pictures, in pixels.
        crop: Longest training clip in steps, for tasks that answer step by step; a random part of each clip is taken,
            which shows more different clips in the same time. 0 for whole clips.
        window: Longest training clip in steps for tasks on untrimmed clips, likewise.
        shrink: Take parts of untrimmed clips as UnAV does, in which an event remains; those that are short enough are
            cut to a random share of at least this, such as 0.9.
        train_size: Different training scenes.
        val_size: Scenes of the validation split.
        test_size: Scenes of the test split.
        seed: Of the order of batches, and of the world of scenes.
    """

    def __init__(
        self,
        tasks: str = "",
        fields: dict[str, Any] | None = None,
        dataset: str | None = None,
        root: str | None = None,
        manifest: str | None = None,
        release: str | None = None,
        visual: str | None = None,
        audio: str | None = None,
        expert: str | None = None,
        allow_missing: bool = False,
        batch_size: int = 16,
        whole_batch: int = 6,
        long_batch: int = 6,
        steps_per_epoch: int | None = None,
        mix: str = "need",
        workers: int = 1,
        picture: int = 64,
        crop: int = 2,
        window: int = 16,
        shrink: float | None = None,
        train_size: int = 20_000,
        val_size: int = 64,
        test_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        counts = {"batch_size": batch_size, "whole_batch": whole_batch, "long_batch": long_batch}
        counts["steps_per_epoch"] = 1 if steps_per_epoch is None else steps_per_epoch
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"data.{name} is {count}; it is at least 1.")
        self.reads = {
            task: Reads(
                needs=frozenset(f["needs"]),
                each=frozenset(f["each"]),
                scored=frozenset(f["scored"]),
                may=frozenset(f["may"]),
                stepwise=f["stepwise"],
                untrimmed=f["untrimmed"],
                need=f["need"],
                late=f["late"],
            )
            for task, f in (fields or {}).items()
        }
        if shrink is not None and not 0 < shrink <= 1:
            raise ValueError(f"data.shrink is {shrink}; it is a share above 0, at most 1.")
        self.crop, self.window, self.shrink = crop, window, shrink
        if manifest and dataset is None:
            dataset = "manifest"
        #: Name of each task's dataset.
        self.sources = choose_datasets(list(self.reads), dataset, root)
        self.options = {"release": release, "visual": visual, "audio": audio}
        self.allow_missing = allow_missing
        self.expert = open_expert(expert) if expert else None
        needed = _STEPS + _MORE_STEPS * max(0, len(self.reads) - 3)
        self.root, self.manifest, self.steps, self.mix = root, manifest, steps_per_epoch or needed, mix
        self.batch_size, self.whole_batch, self.long_batch = batch_size, whole_batch, long_batch
        self.workers, self.picture, self.seed = workers, picture, seed
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}
        self._splits: dict[tuple[str, str], Dataset] = {}

    @property
    def dataset(self) -> str:
        """Names of all datasets."""
        return "+".join(dict.fromkeys(self.sources.values()))

    def split(self, name: str, task: str | None = None) -> Dataset:
        """The dataset of a task's split, opened when first asked for; of the first task where none is named."""
        source = next(iter(self.sources.values()), "scenes") if task is None else self.sources[task]
        if (source, name) not in self._splits:
            self._splits[source, name] = self._open(source, name)
        return self._splits[source, name]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words that the datasets speak, as the training splits define them."""
        if not self.sources:
            return self.split("train").vocabulary
        return join_vocabularies({task: self.split("train", task).vocabulary for task in self.sources})

    @cached_property
    def features(self) -> dict[str, list[int]] | None:
        """Widths of stored visual and audio features by task, 0 for pictures and sound; None where there are none."""
        found = {task: _widths(self.split("train", task)) for task in self.sources}
        return found if any(map(any, found.values())) else None

    @cached_property
    def expert_width(self) -> int | None:
        """Width of the expert's features, or None where there are none."""
        return None if self.expert is None else int(self.expert.shape[0])

    def coverage(self, split: str, task: str) -> int:
        """Samples of a task's split that the official files have, or that can be read where nothing is missing."""
        missing = getattr(self.split(split, task), "missing", ())
        return len(self._numbers(split, task)) + len(missing)

    def train_dataloader(self) -> PlanLoader:
        """Batches by the plan; the order depends on the seed and the step alone."""
        trainer = self.trainer
        numbers = {task: self._numbers("train", task) for task in self.reads}
        sizes = {task: len(found) for task, found in numbers.items()}
        rank, ranks = self._place()
        batch = {task: self._clips(read) // ranks for task, read in self.reads.items()}
        weights = task_weights(sizes, self.mix, {task: read.need for task, read in self.reads.items()})
        late = [task for task, read in self.reads.items() if read.late and self.mix == "need"]
        plan = BatchPlan(sizes, batch, weights, self.seed, rank, ranks, late, self.steps // 2)
        loader = PlanLoader(
            TaskItems(self._datasets("train"), self.reads, self.crop, self.window, self.expert, self.shrink),
            plan,
            numbers,
            self.steps,
            **self._loading(),
        )
        if trainer:  # Lightning gives a loader its state back in the middle of an epoch only, not between two
            loader.done = trainer.global_step * trainer.accumulate_grad_batches
        return loader

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation split, task by task."""
        return self._in_order("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """The test split, task by task."""
        return self._in_order("test")

    def sample(self, split: str, count: int) -> dict[str, list[Batch]]:
        """Batches of the first `count` samples of each task, for counting and for pictures in the report."""
        items = TaskItems(self._datasets(split), self.reads, expert=self.expert)
        out = {}
        for task in self.reads:
            found = [items[task, i, 0.0][1] for i in self._numbers(split, task)[:count]]
            out[task] = [collate(found[i : i + self.batch_size], task) for i in range(0, len(found), self.batch_size)]
        return out

    def samples(self, split: str, task: str) -> list[int]:
        """Numbers of the samples of a split that carry what the task reads."""
        return self._numbers(split, task)

    def _datasets(self, split: str) -> dict[str, Dataset]:
        return {task: self.split(split, task) for task in self.reads}

    def _open(self, source: str, name: str) -> Dataset:
        cls = find_dataset(source)
        if source == "scenes":
            every = name == "train"
            opened: Dataset = cls(name, self.sizes[name], self.seed, self.picture, all_questions=every)
            return opened
        root = Path(self.root) if self.root else None
        if source == "manifest":
            if not self.manifest:
                raise ValueError("Dataset 'manifest' needs a file. Name it with --data.manifest FILE.jsonl.")
            read: Dataset = cls(Path(self.manifest), root=root, split=name, picture=self.picture)
            return read
        if root is None:
            raise ValueError(f"Dataset {source!r} needs a folder. Name it with --data.root FOLDER.")
        root = root / source if (root / source).is_dir() else root
        options = {key: _for(text, source, self.sources.values(), key) for key, text in self.options.items()}
        official: Dataset = cls(root, name, self.picture, allow_missing=self.allow_missing, **options)
        return official

    def _numbers(self, split: str, task: str) -> list[int]:
        """Samples of a task; an error names what the dataset lacks."""
        data, read, source = self.split(split, task), self.reads[task], self.sources[task]
        needs = read.needs - read.scored if split == "train" else read.needs
        missing = sorted(needs - frozenset(data.provides))
        if missing:
            wanted, has = ", ".join(sorted(needs)), ", ".join(sorted(data.provides))
            raise ValueError(
                f"Task {task!r} reads {wanted}; dataset {source!r} has no {', '.join(missing)}. It has {has}. "
                f"Leave {task!r} out of --tasks or add them."
            )
        each = read.each
        found = data.indices(each)
        if not found:
            raise ValueError(
                f"No sample of dataset {source!r} has all that task {task!r} reads: {', '.join(sorted(each))}."
            )
        return found

    def _clips(self, read: Reads) -> int:
        """Clips per training step of a task."""
        if read.untrimmed:
            return self.long_batch
        return self.batch_size if read.stepwise else self.whole_batch

    def _place(self) -> tuple[int, int]:
        """The number of this process, and of all that share the work."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _in_order(self, split: str) -> DataLoader[Batch]:
        rank, ranks = self._place()
        batches = []
        for task, read in self.reads.items():
            keys = [(task, i, 0.0) for i in self._numbers(split, task)[rank::ranks]]
            size = self.long_batch if read.untrimmed else self.batch_size
            batches += [keys[i : i + size] for i in range(0, len(keys), size)]
        items = TaskItems(self._datasets(split), self.reads, expert=self.expert)
        return DataLoader(items, batch_sampler=batches, **self._loading(persistent=False))  # type: ignore[arg-type]

    def _loading(self, persistent: bool = True) -> dict[str, Any]:
        several = self.workers > 0
        return {
            "collate_fn": collate_pairs,
            "num_workers": self.workers,
            "persistent_workers": several and persistent,
            "worker_init_fn": give_way,
            "pin_memory": torch.cuda.is_available(),
            "generator": torch.Generator(),  # its own: opening a loader leaves the model's alone
        } | ({"prefetch_factor": 3} if several else {})


def choose_datasets(tasks: Sequence[str], dataset: str | None, root: str | None) -> dict[str, str]:
    """The dataset of each task.

    Args:
        tasks: Names of tasks.
        dataset: One name for all, or `task=name,...`; tasks not named there take their usual one where `root` is given,
            else `scenes`.
        root: Folder of data on disk.

    Raises:
        ValueError: If a task or dataset is unknown, or a task has no usual one.
    """
    named = {}
    if dataset and "=" not in dataset:
        named = dict.fromkeys(tasks, dataset)
    for part in dataset.split(",") if dataset and "=" in dataset else ():
        task, _, name = part.strip().partition("=")
        if task not in tasks:
            raise unknown_name("task in data.dataset", task, tasks)
        named[task] = name
    for task in tasks:
        if task not in named:
            named[task] = (find_task(task).benchmark or "") if root else "scenes"
        if not named[task]:
            raise ValueError(f"Task {task!r} has no usual dataset. Name one with --data.dataset {task}=NAME.")
        find_dataset(named[task])
    return {task: named[task] for task in tasks}


def open_expert(path: str) -> Store:
    """A store of an expert's features, one vector per row.

    Raises:
        DataError: If it is none, or its rows are no vectors.
    """
    store = Store(path)
    if len(store.shape) != 1:
        raise DataError(f"{path} holds {store.shape} per row; an expert's features are one vector per row.")
    return store


def _for(text: str | None, source: str, sources: Iterable[str], key: str) -> str | None:
    """The part of an option such as `llp=res152,ave=vgg19` that is about one dataset; all of it where it names none."""
    if text is None or "=" not in text:
        return text
    pairs = {name.strip(): value for name, _, value in (part.partition("=") for part in text.split(","))}
    for name in pairs:
        if name not in sources:
            raise unknown_name(f"dataset in data.{key}", name, set(sources))
    return pairs.get(source)


def _widths(data: Dataset) -> list[int]:
    """Widths of the stored visual and audio features that a dataset gives, 0 where it gives pictures or sound."""
    if getattr(data, "visual", None) is None and getattr(data, "audio", None) is None:
        return [0, 0]
    item = data.item(0, frozenset())
    return [x.shape[-1] if x is not None else 0 for x in (item.visual, item.audio)]
