# SPDX-License-Identifier: Apache-2.0
"""The samples that a report shows are the worst and best of all that were tested."""

import random

import pytest
import torch
from torch.nn import functional as F

from avkit.batch import Batch, Prediction, Vocabulary
from avkit.tasks import build_tasks
from avkit.training.ranking import SampleRanking

STEPS = 10


@pytest.fixture
def tasks():
    return build_tasks(["ave"], Vocabulary(classes=["dog", "saw"]))


def clips(numbers, right):
    """Clips in which a dog is heard and seen all the time, and predictions that are right in `right[number]` steps."""
    segments = torch.zeros(len(numbers), STEPS, 2)
    segments[..., 0] = 1
    batch = Batch(
        "ave",
        [f"clip {number}" for number in numbers],
        torch.full((len(numbers),), float(STEPS)),
        1.0,
        torch.ones(len(numbers), STEPS, dtype=torch.bool),
        targets={"audio_segments": segments, "visual_segments": segments.clone()},
        places=list(numbers),
    )
    labels = torch.tensor([[int(step < right[number]) for step in range(STEPS)] for number in numbers])
    return Prediction("ave", batch.id, {"event_logits": F.one_hot(labels, 3).float()}), batch


def ranked(tasks, order, right, size):
    ranking = SampleRanking(tasks, worst=3, best=2)
    for start in range(0, len(order), size):
        ranking.update(*clips(order[start : start + size], right))
    return [(sample.number, round(sample.score, 6), sample.rank) for sample in ranking.chosen("ave")], ranking


def test_the_worst_and_best_of_all_samples_are_kept(tasks):
    right = {number: number % 8 + 1 for number in range(40)}
    right[33] = 0
    right[17] = 10
    chosen, ranking = ranked(tasks, list(range(40)), right, 7)
    assert chosen == [
        (33, 0.0, "worst"),
        (0, 0.1, "2nd worst"),
        (8, 0.1, "3rd worst"),
        (39, 0.8, "2nd best"),
        (17, 1.0, "best"),
    ]
    assert ranking.count("ave") == 40
    assert ranking.chosen("ave") == ranking.chosen("ave")


def test_order_and_batches_do_not_matter(tasks):
    right = {number: (7 * number) % 11 for number in range(30)}
    order = list(range(30))
    expected, _ = ranked(tasks, order, right, 5)
    random.Random(0).shuffle(order)
    assert ranked(tasks, order, right, 1)[0] == expected


def test_no_sample_is_shown_twice(tasks):
    chosen, _ = ranked(tasks, [0, 1, 2], {0: 5, 1: 3, 2: 9}, 2)
    assert [number for number, _, _ in chosen] == [1, 0, 2]


def test_one_sample_of_a_batch_with_several_questions_of_a_clip():
    batch = Batch(
        "avqa",
        ["a 1", "a 2", "b 1"],
        torch.tensor([4.0, 6.0]),
        1.0,
        torch.ones(2, 6, dtype=torch.bool),
        waveform=torch.tensor([[1.0], [2.0]]),
        text=["how many", "where", "which"],
        targets={"answer": torch.tensor([5, 6, 7]), "question_type": ["x", "y", "z"]},
        clip=torch.tensor([0, 0, 1]),
        places=[3, 9],
    )
    sample = batch.sample(1)
    assert (sample.id, sample.text, sample.places, sample.clip) == (["a 2"], ["where"], [3], None)
    assert sample.targets == {"answer": torch.tensor([6]), "question_type": ["y"]}
    assert (float(sample.waveform), float(sample.duration)) == (1.0, 4.0)
    assert float(batch.sample(2).waveform) == 2.0
