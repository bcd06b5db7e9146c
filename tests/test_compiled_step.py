# SPDX-License-Identifier: Apache-2.0
"""A training step of the default system is one graph, and gives the losses and gradients of the step as it is."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from avkit.cli import main
from avkit.datasets.scenes import Scenes
from avkit.nn.padded_gru import _read_unpacked, read_padded
from avkit.training.module import AVModel
from avkit.training.step_losses import StepLosses, compile_step

#: Tasks but for those in CI, where tracing one is enough.
SLOW = ("ave", "avs", "avqa", "davel", "ra_ssu", "ssl")


@pytest.fixture
def make_batch(monkeypatch):
    """Batches of clips of different length."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import paired

    return paired.make_batch


def learn(losses, run, batch):
    """The losses of a fresh network, and its gradients."""
    torch.manual_seed(1)
    found = run(batch, losses.system.read_texts(batch))
    found["loss"].backward()
    gradients = {name: p.grad.clone() for name, p in losses.system.named_parameters() if p.grad is not None}
    losses.system.zero_grad()
    return {name: value.detach() for name, value in found.items()}, gradients


def networks(task):
    """Two equal networks; some heads keep statistics of what they have seen."""
    for _ in range(2):
        torch.manual_seed(0)
        yield StepLosses(AVModel(task, Scenes("train", 1).vocabulary).train().system, compiled=False)


@pytest.mark.parametrize("task", ["avvp", *(pytest.param(task, marks=pytest.mark.slow) for task in SLOW)])
def test_a_step_is_one_graph_and_equal(task, make_batch):
    torch._dynamo.reset()
    plain, other = networks(task)
    batch = make_batch(task, 2, 24, 0)
    losses, gradients = learn(plain, plain.after_texts, batch)
    compiled = compile_step(other.after_texts, fullgraph=True, backend="eager")
    found, compiled_gradients = learn(other, compiled, batch)
    assert found.keys() == losses.keys()
    for name, value in losses.items():
        torch.testing.assert_close(found[name], value)
    assert gradients.keys() == compiled_gradients.keys()
    largest = max(gradient.abs().max() for gradient in gradients.values())
    for name, gradient in gradients.items():
        torch.testing.assert_close(compiled_gradients[name], gradient, rtol=1e-4, atol=1e-6 * float(largest))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_gru_without_packed_rows_reads_the_same(bidirectional):
    torch.manual_seed(0)
    gru = nn.GRU(3, 2, batch_first=True, bidirectional=bidirectional)
    rows = torch.randn(4, 5, 3)
    lengths = torch.tensor([2, 5, 1, 3])
    torch.testing.assert_close(_read_unpacked(gru, rows, lengths), read_padded(gru, rows, lengths))


def test_weights_that_are_spread_over_processes_are_not_compiled(monkeypatch):
    model = AVModel("avs", Scenes("train", 1).vocabulary, compile=True)
    monkeypatch.setattr(AVModel, "device_mesh", {"data_parallel": None})
    with pytest.raises(ValueError, match="compile is true, and strategy fsdp2 takes plain steps"):
        model.configure_model()


@pytest.mark.slow
def test_a_compiled_training_ends_with_a_report(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # machine code takes minutes
    sizes = [f"--data.scenes.{split}_size={count}" for split, count in (("train", 8), ("val", 2), ("test", 2))]
    options = ["--trainer.max_steps", "2", "--trainer.accelerator", "cpu", "--data.loader.workers", "0"]
    given = ["fit", "--tasks", "avvp", "--out", str(tmp_path), "--name", "run", "--model.compile", "true"]
    assert main([*given, *sizes, *options]) == 0
    assert (tmp_path / "run" / "report.html").exists()
