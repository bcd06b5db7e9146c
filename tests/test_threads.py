# SPDX-License-Identifier: Apache-2.0
"""How many threads the networks of a training take on a CPU."""

import pytest
import torch

from avkit.cli import threads
from avkit.cli.trainer import make_cli
from avkit.training.run_folder import RunFolder


@pytest.fixture(autouse=True)
def restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("cores", "workers", "expected"), [(2, 1, 1), (8, 1, 7), (8, 3, 5), (1, 1, 1), (2, 5, 1)])
def test_workers_have_cores_of_their_own(monkeypatch, cores, workers, expected):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "available_cores", lambda: cores)
    torch.set_num_threads(cores)
    threads.leave_cores_to_workers(workers)
    assert torch.get_num_threads() == expected


def test_a_number_that_is_given_or_needed_stays(monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    torch.set_num_threads(2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads.leave_cores_to_workers(0)
    assert torch.get_num_threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    threads.leave_cores_to_workers(1)
    assert torch.get_num_threads() == 2


def test_a_training_leaves_a_core_to_its_worker(monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    torch.set_num_threads(2)
    words = ["--tasks", "avs", "--out", str(tmp_path), "--trainer.accelerator", "cpu", "--data.loader.workers", "1"]
    cli = make_cli(words, training=True)
    cli.attach(RunFolder(tmp_path / "run"), training=True)
    assert torch.get_num_threads() == 1
