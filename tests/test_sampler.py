# SPDX-License-Identifier: Apache-2.0
"""The order of batches."""

from collections import Counter

import numpy as np
import pytest

from avkit.training.sampler import BatchPlan, task_weights

SIZES = {"a": 10, "b": 7}


def plan(**changes):
    return BatchPlan(
        **{"sizes": SIZES, "batch_sizes": {"a": 3, "b": 3}, "weights": task_weights(SIZES), "seed": 5} | changes
    )


def rows(steps):
    return [(task, list(samples), list(draws)) for task, samples, draws in steps]


@pytest.mark.parametrize("first", [0, 1, 13, 40])
def test_any_part_can_be_had_without_what_came_before(first):
    assert rows(plan().steps(first, 20)) == rows(plan().steps(0, first + 20))[first:]


def test_seed_decides():
    assert rows(plan().steps(0, 20)) == rows(plan().steps(0, 20))
    assert rows(plan().steps(0, 20)) != rows(plan(seed=6).steps(0, 20))
    one = plan()
    for step in (7, 3, 19, 3):  # asked in any order, of one plan
        assert rows(one.steps(step, 1)) == rows(plan().steps(0, 20))[step : step + 1]
    assert one.tasks(3, 5) == [task for task, _, _ in plan().steps(3, 5)]


def test_no_two_rounds_have_the_same_order():
    small = plan(sizes={"a": 10}, batch_sizes={"a": 10}, weights={"a": 1.0})
    rounds = [tuple(samples) for _, samples, _ in small.steps(0, 30)]
    assert len(set(rounds)) == 30
    other = plan(sizes={"b": 10}, batch_sizes={"b": 10}, weights={"b": 1.0})
    assert rounds[0] != tuple(next(other.steps(0, 1))[1])  # nor have two tasks


def test_a_batch_may_be_larger_than_the_task():
    for _, samples, draws in plan(batch_sizes={"a": 25, "b": 25}).steps(0, 5):
        counts = Counter(samples.tolist())
        assert len(samples) == len(draws) == 25
        assert max(counts.values()) - min(counts.values()) <= 1 or set(counts) < set(range(10))


def test_every_sample_comes_once_before_any_comes_again():
    drawn = {task: [] for task in SIZES}
    for task, samples, _ in plan().steps(0, 200):
        drawn[task] += list(samples)
    for task, size in SIZES.items():
        whole = len(drawn[task]) // size * size
        for start in range(0, whole, size):
            assert sorted(drawn[task][start : start + size]) == list(range(size))


def test_ranks_share_the_task_and_split_the_samples():
    one, two = (rows(plan(rank=r, world_size=2).steps(0, 30)) for r in (0, 1))
    both = rows(plan(batch_sizes={"a": 6, "b": 6}).steps(0, 30))
    for (task, mine, _), (other, theirs, _), (same, all_, _) in zip(one, two, both, strict=True):
        assert task == other == same
        assert mine + theirs == all_


@pytest.mark.parametrize(("size", "ranks"), [(64, 6), (7, 3), (5, 5)])
def test_ranks_share_a_batch_unevenly_as_one_process_would_take_it(size, ranks):
    each, extra = divmod(size, ranks)
    options = {"sizes": {"a": 100}, "weights": {"a": 1.0}}
    parts = [
        plan(**options, batch_sizes={"a": each}, extra={"a": extra}, rank=rank, world_size=ranks).steps(0, 5)
        for rank in range(ranks)
    ]
    for (_, samples, draws), *shares in zip(plan(**options, batch_sizes={"a": size}).steps(0, 5), *parts, strict=True):
        assert [i for _, own, _ in shares for i in own] == list(samples)
        assert [x for _, _, own in shares for x in own] == list(draws)
        counts = [len(own) for _, own, _ in shares]
        assert sum(counts) == size
        assert max(counts) - min(counts) <= 1


def test_ranks_take_disjoint_samples_and_draws_of_their_own():
    sizes = {"a": 64, "b": 48}
    plans = [
        plan(sizes=sizes, batch_sizes={"a": 4, "b": 3}, weights=task_weights(sizes), rank=r, world_size=4)
        for r in range(4)
    ]
    for steps in zip(*(rows(p.steps(0, 40)) for p in plans), strict=True):
        assert len({task for task, _, _ in steps}) == 1
        together = [i for _, samples, _ in steps for i in samples]
        assert len(set(together)) == len(together)
        assert len({tuple(draws) for _, _, draws in steps}) == 4


def test_tasks_come_as_often_as_their_weights():
    weights = task_weights(SIZES, "a=3,b=1")
    counts = Counter(plan(weights=weights).tasks(0, 4000))
    assert counts["a"] / 4000 == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    ("mix", "expected"),
    [
        ("proportional", 10 / 17),
        ("uniform", 0.5),
        ("temperature", 10**0.5 / (10**0.5 + 7**0.5)),
        ("a=1,b=4", 0.2),
        ("sampling_weight", 0.25),
    ],
)
def test_mixes(mix, expected):
    assert task_weights(SIZES, mix, {"b": 3.0})["a"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "mix",
    ["proportionall", "a=1", "a=1,c=2", "a=0,b=1", "a=-1,b=1", "a=x,b=1", "a=nan,b=1", "a=inf,b=1", "a=1,a=2,b=1", ""],
)
def test_mix_that_makes_no_sense(mix):
    with pytest.raises(ValueError, match="a positive weight for each of a, b, such as a=1,b=1"):
        task_weights(SIZES, mix)


def test_draws_lie_in_the_unit_interval():
    draws = np.concatenate([d for _, _, d in plan().steps(0, 50)])
    assert ((draws >= 0) & (draws < 1)).all()
    assert len(np.unique(draws)) == len(draws)


def test_temperature_lies_between_proportional_and_uniform():
    assert task_weights(SIZES, "temperature=1") == pytest.approx(task_weights(SIZES, "proportional"))
    assert task_weights(SIZES, "temperature=1e9") == pytest.approx(task_weights(SIZES, "uniform"))
    assert task_weights(SIZES, "temperature=2") == task_weights(SIZES, "temperature")
    for wrong in ("temperature=-1", "temperature=0", "temperature=warm"):
        with pytest.raises(ValueError, match=f"mix is '{wrong}'; a temperature is a positive number"):
            task_weights(SIZES, wrong)


class TestDelayed:
    """Tasks that join later."""

    def plan(self, delayed, delay=40):
        return BatchPlan(SIZES, {"a": 3, "b": 3}, task_weights(SIZES, "uniform"), seed=5, delayed=delayed, delay=delay)

    def test_a_delayed_task_is_not_drawn_before_its_step(self):
        tasks = self.plan({"b"}).tasks(0, 400)
        assert set(tasks[:40]) == {"a"}
        assert 140 < tasks[40:].count("b") < 220

    def test_after_that_the_order_is_the_usual_one(self):
        assert self.plan({"b"}).tasks(40, 100) == self.plan(()).tasks(40, 100)

    def test_where_all_are_delayed_none_is(self):
        assert self.plan({"a", "b"}).tasks(0, 100) == self.plan(()).tasks(0, 100)

    def test_any_part_of_the_order_is_that_of_the_whole(self):
        plan = self.plan({"b"})
        whole = [(task, samples.tolist()) for task, samples, _ in plan.steps(0, 90)]
        assert [(task, samples.tolist()) for task, samples, _ in self.plan({"b"}).steps(30, 60)] == whole[30:]
