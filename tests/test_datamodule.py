# SPDX-License-Identifier: Apache-2.0
"""Batches from datasets, and going on where a run was killed."""

import random
from itertools import islice

import numpy as np
import pytest
import torch

from avkit.batch import Item, Vocabulary
from avkit.cli.trainer import make_cli
from avkit.datasets import Dataset
from avkit.training.datamodule import AVDataModule
from avkit.training.items import SampleKey, TaskItems
from avkit.training.options import BatchSizeOptions, CropOptions, LoaderOptions, SceneOptions
from avkit.training.task_spec import TaskSpec


def data(tasks="avs,avqa", **changes):
    options = {
        "batch_size": BatchSizeOptions(trimmed=2, whole=2),
        "steps_per_epoch": 6,
        "loader": LoaderOptions(workers=0),
        "image_size": 32,
        "scenes": SceneOptions(train_size=20, test_size=5),
    }
    module = AVDataModule(tasks, **options | changes)
    module.trainer = None
    return module


def test_loader_goes_on_with_the_next_batch():
    whole = data().train_dataloader()
    batches = [*whole, *whole]  # two epochs
    loader = data().train_dataloader()
    begun = list(islice(iter(loader), 4))
    state = loader.state_dict()
    again = data().train_dataloader()
    again.load_state_dict(state)
    rest = [*again, *again]
    assert [b.id for b in [*begun, *rest]] == [b.id for b in batches]
    for one, other in zip(batches[4:], rest, strict=True):
        assert torch.equal(one.frames, other.frames)
        assert one.task == other.task


def test_workers_do_not_change_the_order():
    plain, parallel = data().train_dataloader(), data(loader=LoaderOptions(workers=1)).train_dataloader()
    for one, other in zip(plain, parallel, strict=True):
        assert one.id == other.id
        assert torch.equal(one.waveform, other.waveform)


def order(loader):
    """What a loader hands out, pictures as sums, which tell one crop from another."""
    return [(b.task, b.id, b.text, b.frames.double().sum().item()) for b in loader]


def test_order_depends_on_seed_and_step_alone():
    first = data().train_dataloader()
    whole = order(first) + order(first)
    for state in range(2):  # whatever else was drawn in this process
        torch.manual_seed(state)
        np.random.seed(state)  # noqa: NPY002
        random.seed(state)
        later = data().train_dataloader()
        later.load_state_dict({"done": 3 + state})
        assert order(later) == whole[3 + state : 6]
    assert order(data(seed=1).train_dataloader()) != whole[:6]


def test_loading_leaves_the_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(data().train_dataloader())
    assert torch.equal(torch.rand(3), expected)


class Numbers(Dataset):
    """Clips of ten steps whose features are their numbers; masks known at `known` alone."""

    provides = frozenset({"mask_known", "answer"})
    vocabulary = Vocabulary()

    def __init__(self, known):
        self.known = torch.isin(torch.arange(10), torch.tensor(known, dtype=torch.long))

    def __len__(self):
        return 1

    def item(self, index, fields=None):
        targets = {"mask_known": self.known, "answer": "yes"}
        return Item("x", 10.0, audio=torch.arange(10.0)[:, None], targets={k: targets[k] for k in fields})


def starts(known, required, crop=3):
    spec = TaskSpec(frozenset({"mask_known"}), frozenset(required), stepwise=True)
    items = TaskItems({"t": Numbers(known)}, {"t": spec}, CropOptions(trimmed=crop))
    crops = [items[SampleKey("t", 0, draw)][1] for draw in np.linspace(0, 1, 200, endpoint=False)]
    assert {len(item.audio) for item in crops} == {min(crop, 10)}
    return {int(item.audio[0]) for item in crops}


@pytest.mark.parametrize(
    ("known", "expected"),
    [(range(10), range(8)), ([0], [0]), ([4], [2, 3, 4]), ([9], [7]), ([], range(8)), ([0, 9], [0, 7])],
)
def test_crops_hold_an_annotated_step_where_there_is_one(known, expected):
    assert starts(list(known), {"mask_known"}) == set(expected)


def test_crops_lie_anywhere_for_tasks_that_need_no_masks():
    assert starts([4], {"answer"}) == set(range(8))
    assert starts([4], {"mask_known"}, crop=12) == {0}


def test_samples_to_count_over_are_the_first_and_whole():
    module = data()
    batches = module.first_batches("train", 3)["avs"]
    assert [len(b.id) for b in batches] == [2, 1]
    assert [i for b in batches for i in b.id] == [f"scenes-train-{i:06d}" for i in range(3)]
    assert all(b.valid.shape[1] == 10 for b in batches)
    assert module.indices("test", "avqa") == list(range(5))
    assert module.vocabulary == module.split("test").vocabulary


def test_training_clips_are_cropped_and_questions_get_whole_ones():
    for batch in data(crop=CropOptions(trimmed=3)).train_dataloader():
        assert batch.frames.shape[1] == (3 if batch.task == "avs" else 10)


def test_test_split_comes_whole_and_in_order():
    batches = list(data().test_dataloader())
    assert [b.task for b in batches] == ["avs"] * 3 + ["avqa"] * 3
    assert [i for b in batches[:3] for i in b.id] == [f"scenes-test-{i:06d}" for i in range(5)]
    assert all(b.frames.shape[1] == 10 for b in batches)


class Silent(Dataset):
    """A dataset of questions alone."""

    provides = frozenset({"answer", "question_type"})
    vocabulary = Vocabulary(answers=["yes"])

    def __len__(self):
        return 1

    def indices(self, fields):
        return []

    def item(self, index, fields=None):
        raise AssertionError("no sample is asked for")


def test_missing_targets_are_named():
    module = data("avs")
    module._splits["scenes", "train"] = Silent()
    with pytest.raises(ValueError, match="Task 'avs' reads mask, mask_known; dataset 'scenes' has no mask, mask_known"):
        module.train_dataloader()
    module = data("avqa")
    module._splits["scenes", "train"] = Silent()
    with pytest.raises(ValueError, match="No sample of dataset 'scenes' has all that task 'avqa' reads"):
        module.train_dataloader()


@pytest.mark.parametrize("name", ["trimmed", "whole", "untrimmed"])
def test_batch_sizes_are_checked(name):
    with pytest.raises(ValueError, match=rf"data\.batch_size\.{name} is 0; it is at least 1"):
        BatchSizeOptions(**{name: 0})


def test_steps_and_shares_are_checked():
    with pytest.raises(ValueError, match=r"data\.steps_per_epoch is 0; it is at least 1"):
        data(steps_per_epoch=0)
    with pytest.raises(ValueError, match=r"data\.crop\.min_share is 1\.5; it is a share above 0, at most 1"):
        CropOptions(min_share=1.5)


def test_unknown_dataset_names_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown dataset 'scene'\. Did you mean 'scenes'"):
        data(dataset="scene").train_dataloader()


def test_manifest_needs_a_file():
    with pytest.raises(ValueError, match=r"--data\.manifest FILE\.jsonl"):
        data(dataset="manifest").train_dataloader()


@pytest.mark.parametrize(("tasks", "steps"), [("avs", 430), ("ra_ssu,avs,avqa", 430), ("all", 1390)])
def test_steps_follow_what_the_tasks_need(tasks, steps):
    assert AVDataModule(tasks).steps == steps
    assert AVDataModule(tasks, steps_per_epoch=7).steps == 7


def test_a_system_that_reads_whole_clips_takes_the_batches_of_whole_clips():
    batch_size = BatchSizeOptions(trimmed=3, whole=2)
    assert len(next(iter(data("avs", batch_size=batch_size).train_dataloader()))) == 3
    batch = next(iter(data("avs", batch_size=batch_size, whole_clips=True).train_dataloader()))
    assert batch.frames.shape[:2] == (2, 10)


@pytest.mark.parametrize(
    ("system", "options", "cropped"),
    [
        ("av_unified", [], True),
        ("avsegformer", ["--model.system.width", "32", "--model.system.layers", "1"], True),
        ("tpavi", ["--model.system.width", "16"], False),
    ],
)
def test_the_system_says_whether_clips_are_cropped(system, options, cropped):
    cli = make_cli(["--tasks", "avs", "--model.system.name", system, *options])
    assert cli.datamodule.specs["avs"].stepwise is cropped
