# SPDX-License-Identifier: Apache-2.0
"""The datasets of a run, opened once each, and what they say: vocabulary, features, samples of each task."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cached_property

from avkit.batch import Vocabulary, join_vocabularies
from avkit.datasets import Dataset, DatasetOptions
from avkit.errors import DataError, EmptySplitError
from avkit.training.benchmarks import Benchmark, check_same_widths, list_benchmarks, shared_vocabulary
from avkit.training.domain import SCENES, domain_of
from avkit.training.options import SceneOptions
from avkit.training.sources import hop_of, open_dataset, stored_widths
from avkit.training.task_spec import TaskSpec


class RunDatasets:
    """Splits of all datasets of a run.

    Where a task has several datasets each is a benchmark of its own, named `task/dataset`; else the benchmark has the
    task's name.

    Args:
        specs: What each task needs of the data.
        dataset_names: Names of each task's datasets, joined by `+`.
        sources: Where data come from.
        scenes: Sizes of the built-in dataset.
        hop: Seconds per step, for one dataset or for several.
    """

    def __init__(
        self,
        specs: Mapping[str, TaskSpec],
        dataset_names: Mapping[str, str],
        sources: DatasetOptions,
        scenes: SceneOptions,
        hop: str | None,
    ) -> None:
        super().__init__()
        self.specs = dict(specs)
        #: Names of each task's datasets, joined by `+`.
        self.dataset_names = dict(dataset_names)
        #: Each task on each of its datasets, by name.
        self.benchmarks: dict[str, Benchmark] = list_benchmarks(dataset_names)
        #: Where data come from.
        self.sources = sources
        self.scenes = scenes
        self.hop = hop
        #: The split that says what the data are; of a manifest without training clips another.
        self.reference = "train"
        #: The error for features that training alone reads and that are not there.
        self.missing_for_training: DataError | None = None
        self._splits: dict[tuple[str, str], Dataset] = {}

    @property
    def all_datasets(self) -> list[str]:
        """Names of all datasets, each once."""
        return list(dict.fromkeys(benchmark.dataset for benchmark in self.benchmarks.values()))

    @property
    def dataset(self) -> str:
        """Names of all datasets, joined by `+`."""
        return "+".join(self.all_datasets)

    def spec(self, benchmark: str) -> TaskSpec:
        """What the task of a benchmark needs of the data."""
        return self.specs[self.benchmarks[benchmark].task]

    def benchmarks_of(self, task: str) -> list[str]:
        """Names of a task's benchmarks, one per dataset."""
        return [name for name, benchmark in self.benchmarks.items() if benchmark.task == task]

    def split(self, split: str, benchmark: str | None = None) -> Dataset:
        """The dataset of a benchmark's split, the first benchmark's by default; it is opened once.

        Args:
            split: `train`, `val` or `test`.
            benchmark: Its name: that of the task, or of task and dataset where the task has several.

        Raises:
            DataError: If features are missing that training reads, and the split is that of training.
        """
        if split == "train" and self.missing_for_training is not None:
            raise self.missing_for_training
        names = self.all_datasets
        name = (names or ["scenes"])[0] if benchmark is None else self.benchmarks[benchmark].dataset
        if (name, split) not in self._splits:
            self._splits[name, split] = open_dataset(name, split, self.sources, self.scenes, names, self.hop)
        return self._splits[name, split]

    def use_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Read data without training clips, or without their features, by the names that a run was trained with."""
        if self.missing_for_training is None and self._has_training_clips():
            return
        self.sources = replace(self.sources, vocabulary=vocabulary)
        self.reference = "test"
        vars(self)["vocabulary"] = vocabulary

    def _has_training_clips(self) -> bool:
        try:
            self.split("train")
        except EmptySplitError:
            return False
        return True

    def notes(self) -> list[str]:
        """What a reader of figures must know of the data, one sentence each."""
        notes: dict[str, None] = {}
        for name in self.benchmarks:
            notes |= dict.fromkeys(self.split(self.reference, name).notes)
        return list(notes)

    def split_label(self, split: str, benchmark: str) -> str:
        """Name of a benchmark's split for tables; says so where it was drawn, or is the list of another split."""
        dataset = self.split(split, benchmark)
        if dataset.listed_split:
            return f"{split}, the {dataset.listed_split} list"
        facts = dataset.split_facts
        return f"{split}, drawn" if facts is not None and facts.drawn else split

    def hops(self) -> dict[str, list[float]]:
        """Seconds per step of pictures and sound by task, one for each of its datasets."""
        hops: dict[str, list[float]] = {}
        for name, benchmark in self.benchmarks.items():
            given = hop_of(benchmark.dataset, self.hop, self.all_datasets)
            usual = self.split(self.reference, name).default_hop
            hops.setdefault(benchmark.task, []).append(usual if given is None else given)
        return hops

    def split_facts(self) -> dict[str, dict[str, object]]:
        """How splits were made that the datasets do not state, by name of the dataset."""
        facts = {}
        for name, benchmark in self.benchmarks.items():
            split_facts = self.split(self.reference, name).split_facts
            if split_facts is not None:
                facts[benchmark.dataset] = asdict(split_facts)
        return facts

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Classes, answers and words of the datasets, as their training splits define them, else those of the test."""
        if not self.benchmarks:
            return self.split("train").vocabulary
        if self.missing_for_training is None and not self._has_training_clips():
            self.reference = "test"  # whoever wants to train is refused when the clips are drawn
        return join_vocabularies({task: self._vocabulary_of(task) for task in self.specs})

    def _vocabulary_of(self, task: str) -> Vocabulary:
        names = self.benchmarks_of(task)
        vocabularies = {self.benchmarks[name].dataset: self.split(self.reference, name).vocabulary for name in names}
        if len(vocabularies) == 1:
            return next(iter(vocabularies.values()))
        return shared_vocabulary(task, vocabularies)

    @cached_property
    def benchmark_vocabularies(self) -> dict[str, Vocabulary] | None:
        """Vocabulary of each dataset of the tasks that have several, by benchmark; None if no task has."""
        several = [name for name, benchmark in self.benchmarks.items() if benchmark.several]
        return {name: self.split(self.reference, name).vocabulary for name in several} or None

    @cached_property
    def feature_widths(self) -> dict[str, list[int]] | None:
        """Widths of stored visual and audio features by task, 0 for pictures and sound; None if no task reads any."""
        widths = {}
        for task in self.specs:
            own = {}
            for name in self.benchmarks_of(task):
                own[self.benchmarks[name].dataset] = stored_widths(self.split(self.reference, name))
            widths[task] = check_same_widths(task, own)
        return widths if any(map(any, widths.values())) else None

    def indices(self, split: str, benchmark: str) -> list[int]:
        """Numbers of the samples of a split that have the targets of a benchmark's task.

        Raises:
            ValueError: If the dataset lacks targets of the task, or no sample has all of them.
        """
        spec = self.spec(benchmark)
        task = self.benchmarks[benchmark].task
        name = self.benchmarks[benchmark].dataset
        dataset = self.split(split, benchmark)
        required = spec.targets_of(split)
        missing = sorted(required - dataset.provides)
        if missing:
            raise ValueError(
                f"Task {task!r} reads {', '.join(sorted(required))}; dataset {name!r} has no "
                f"{', '.join(missing)}. It has {', '.join(sorted(dataset.provides))}. Leave {task!r} out of --tasks or "
                "add them."
            )
        indices = dataset.indices(spec.required_for_training)
        if not indices:
            raise ValueError(
                f"No sample of dataset {name!r} has all that task {task!r} reads: "
                f"{', '.join(sorted(spec.required_for_training))}."
            )
        return indices

    def coverage(self, split: str, benchmark: str) -> int:
        """Samples of a benchmark's split that the official list has, on disk or not; else those that can be read.

        Where the number of the official list is known it counts, whatever the annotation files on disk say; scenes that
        were written in the layout of an official dataset have no such list.
        """
        dataset = self.split(split, benchmark)
        listed = len(self.indices(split, benchmark)) + len(dataset.missing)
        return max(listed, self.official_count(split, benchmark) or 0)

    def official_count(self, split: str, benchmark: str) -> int | None:
        """Samples of the official list of a benchmark's split; None where there is none, and for scenes."""
        name = self.benchmarks[benchmark].dataset
        if domain_of(name, self.sources.root, self.sources.manifest) == SCENES:
            return None
        return self.split(split, benchmark).official_count
