# SPDX-License-Identifier: Apache-2.0
"""Batches from datasets, and going on where a run was killed."""

from itertools import islice

import pytest
import torch

from avkit.batch import Vocabulary
from avkit.cli.trainer import task_fields
from avkit.datamodule import AVDataModule


def data(tasks="avs,avqa", **changes):
    options = {
        "batch_size": 2,
        "whole_batch": 2,
        "steps_per_epoch": 6,
        "workers": 0,
        "picture": 32,
        "train_size": 20,
        "test_size": 5,
    }
    module = AVDataModule(tasks, task_fields(tasks), **options | changes)
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
    plain, parallel = data().train_dataloader(), data(workers=1).train_dataloader()
    for one, other in zip(plain, parallel, strict=True):
        assert one.id == other.id
        assert torch.equal(one.waveform, other.waveform)


def test_training_clips_are_cropped_and_questions_get_whole_ones():
    for batch in data(crop=3).train_dataloader():
        assert batch.frames.shape[1] == (3 if batch.task == "avs" else 10)


def test_test_split_comes_whole_and_in_order():
    batches = list(data().test_dataloader())
    assert [b.task for b in batches] == ["avs"] * 3 + ["avqa"] * 3
    assert [i for b in batches[:3] for i in b.id] == [f"scenes-test-{i:06d}" for i in range(5)]
    assert all(b.frames.shape[1] == 10 for b in batches)


class Silent:
    """A dataset of questions alone."""

    provides = frozenset({"answer", "question_type"})
    vocabulary = Vocabulary(answers=["yes"])

    def __len__(self):
        return 1

    def indices(self, fields):
        return []


def test_missing_targets_are_named():
    module = data("avs")
    module._splits["train"] = Silent()
    with pytest.raises(ValueError, match="Task 'avs' reads mask, mask_known; dataset 'scenes' has no mask, mask_known"):
        module.train_dataloader()
    module = data("avqa")
    module._splits["train"] = Silent()
    with pytest.raises(ValueError, match="No sample of dataset 'scenes' has all that task 'avqa' reads"):
        module.train_dataloader()


def test_sizes_are_checked():
    with pytest.raises(ValueError, match=r"data\.batch_size is 0; it is at least 1"):
        data(batch_size=0)


def test_manifest_needs_a_file():
    with pytest.raises(ValueError, match=r"--data\.manifest FILE\.jsonl"):
        data(dataset="manifest").train_dataloader()
