# SPDX-License-Identifier: Apache-2.0
"""Samples of tasks, with the targets that each task uses, cropped for training."""

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from avkit.batch import Item
from avkit.collate import crop
from avkit.datasets import Dataset
from avkit.errors import DataError
from avkit.features.base import Features
from avkit.training.options import NO_CROP, CropOptions
from avkit.training.task_spec import TaskSpec
from avkit.training.truncate import truncate_item


class SampleKey(NamedTuple):
    """Which sample to read.

    Attributes:
        benchmark: Name of the task, and of its dataset where it has several, see `avkit.batch.benchmark_name`.
        number: Number of the sample in the dataset.
        draw: Random number in [0, 1) that places a crop.
    """

    benchmark: str
    number: int
    draw: float


class TaskItems(TorchDataset[tuple[str, Item]]):
    """Samples by `SampleKey`: the benchmark's name, and the item with the targets that the task uses.

    Args:
        datasets: Dataset of each benchmark.
        specs: What the task of each benchmark needs of the data.
        crop: Longest clips.
        expert: Features that a large vision-language model made of clips, not of all of them, for captions.
    """

    def __init__(
        self,
        datasets: Mapping[str, Dataset],
        specs: Mapping[str, TaskSpec],
        crop: CropOptions = NO_CROP,
        expert: Features | None = None,
    ) -> None:
        self.datasets = datasets
        self.specs = specs
        self.crop = crop
        self.expert = expert
        self.fields = {benchmark: self._provided_targets(benchmark) for benchmark in specs}

    def _provided_targets(self, benchmark: str) -> frozenset[str]:
        spec = self.specs[benchmark]
        return (spec.targets | spec.optional) & self.datasets[benchmark].provides

    def __getitem__(self, key: SampleKey) -> tuple[str, Item]:
        benchmark, number, draw = key
        spec = self.specs[benchmark]
        item = self.datasets[benchmark].item(number, self.fields[benchmark])
        item.place = number
        if self.expert is not None and "caption" in spec.targets:
            item.expert = expert_features(self.expert, self.datasets[benchmark].media(number), item)
        return benchmark, self._crop(item, spec, draw)

    def _crop(self, item: Item, spec: TaskSpec, draw: float) -> Item:
        max_steps = self.crop.max_steps(spec)
        if self.crop.min_share is not None and spec.untrimmed:
            return truncate_item(item, max_steps or item.steps, self.crop.min_share, random.Random(draw))
        if not max_steps:
            return item
        starts = crop_starts(item, max_steps, with_mask="mask_known" in spec.required_for_training)
        return crop(item, starts[int(draw * len(starts))], max_steps)


def crop_starts(item: Item, max_steps: int, *, with_mask: bool) -> Sequence[int]:
    """Steps at which a crop may start.

    Args:
        item: The clip.
        max_steps: Length of the crop.
        with_mask: Only starts of crops that hold a step with a mask, if there are such crops.
    """
    starts = range(max(1, item.steps - max_steps + 1))
    if not with_mask or bool(item.targets["mask_known"].all()):
        return starts
    has_mask = item.targets["mask_known"].tolist()
    return [start for start in starts if any(has_mask[start : start + max_steps])] or starts


def expert_features(features: Features, name: str, item: Item) -> Tensor | None:
    """A clip's features of a large vision-language model, float (M, E); None if it has none.

    Raises:
        DataError: If there is one per step, but of other steps than the clip's.
    """
    if name not in features.names:
        return None
    rows = torch.from_numpy(features.read(name)).float()
    hop = features.facts.hop
    if rows.ndim != 2 or (hop and (abs(hop - item.hop) > 1e-6 or len(rows) != item.steps)):
        raise DataError(
            f"{features.path}: clip {name!r} has features {tuple(rows.shape)}, one row every {hop:g} s; the clip has "
            f"{item.steps} steps of {item.hop:g} s. Extract them for this data, one row per step or one text (hop 0)."
        )
    return rows
