# SPDX-License-Identifier: Apache-2.0
"""A training that goes on from any of its checkpoints ends as the one that was never stopped."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

from avkit.cli import main
from avkit.training.callbacks import AtomicCheckpointIO
from avkit.training.last_checkpoint import LastCheckpoint
from avkit.training.loop_state import training_ends, validation_follows

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from same_run import differences

TINY = [
    *("--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "2"),
    *("--data.steps_per_epoch", "3", "--data.batch_size.trimmed", "2", "--data.scenes.val_size", "2"),
    *("--data.scenes.test_size", "2", "--data.scenes.train_size", "8", "--data.image_size", "32"),
    *("--data.loader.workers", "0", "--model.system.width", "32", "--report", "false"),
]
ACCUMULATION = ["--trainer.accumulate_grad_batches", "2", "--trainer.val_check_interval", "1"]
PLATEAU = [
    *("--optimizer", "AdamW", "--optimizer.lr", "0.001", "--lr_scheduler", "ReduceLROnPlateau"),
    *("--lr_scheduler.monitor", "val/score", "--lr_scheduler.mode", "max", "--lr_scheduler.patience", "0"),
    *("--lr_scheduler.threshold", "9", "--trainer.max_epochs", "3", "--data.steps_per_epoch", "2"),
]
BY_STEPS = ["--trainer.max_steps", "5", "--trainer.max_epochs", "-1"]
WHOLE_EPOCHS = ["--trainer.max_steps", "4", "--trainer.max_epochs", "-1"]


def fit(out, name, *options):
    assert main(["fit", "--tasks", "avs", "--out", str(out), "--name", name, *TINY, *options]) == 0
    return out / name


class Recorder:
    """Keeps every checkpoint that a fit saves, and saves one after each batch after which training goes on."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.folder.mkdir()
        self.kept = []
        save = AtomicCheckpointIO.save_checkpoint
        end_batch = LastCheckpoint.on_train_batch_end

        def keep(io, checkpoint, path, storage_options=None):
            save(io, checkpoint, path, storage_options)
            if Path(path).parent != self.folder:
                self.kept.append(Path(shutil.copy(path, self.folder / f"{len(self.kept)}.ckpt")))

        def save_after_batch(callback, trainer, *args):
            if validation_follows(trainer) or not training_ends(trainer):
                trainer.save_checkpoint(self.folder / f"{len(self.kept)}.ckpt")
                self.kept.append(self.folder / f"{len(self.kept)}.ckpt")
            end_batch(callback, trainer, *args)

        monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", keep)
        monkeypatch.setattr(LastCheckpoint, "on_train_batch_end", save_after_batch)


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A function that trains and returns the run with all checkpoints of its training."""

    def record(*options):
        with monkeypatch.context() as patched:
            recorder = Recorder(tmp_path / "kept", patched)
            run = fit(tmp_path, "through", *options)
        return run, recorder.kept

    return record


def resumed_differences(run, kept, *options):
    """What differs where training goes on from a checkpoint that it saved earlier."""
    copy = shutil.copytree(run, run.with_name(f"from-{kept.stem}"))
    shutil.copy(kept, copy / "checkpoints" / "last.ckpt")
    fit(run.parent, copy.name, *options, "--ckpt_path", str(copy / "checkpoints" / "last.ckpt"))
    return differences(run, copy, copied=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [ACCUMULATION, PLATEAU, [*PLATEAU, *BY_STEPS], [*PLATEAU, *WHOLE_EPOCHS]],
    ids=["windows", "plateau", "steps", "whole-epochs"],
)
def test_training_goes_on_from_each_of_its_checkpoints(recorded, options):
    run, kept = recorded(*options)
    assert len(kept) > 8
    faults = {path.stem: resumed_differences(run, path, *options) for path in kept}
    assert not {name: fault for name, fault in faults.items() if fault}


def test_a_checkpoint_amid_accumulated_gradients_holds_them(recorded):
    options = ["--trainer.accumulate_grad_batches", "2", "--trainer.max_epochs", "1"]
    run, kept = recorded(*options)
    amid = [path for path in kept if torch.load(path, weights_only=True).get("gradients")]
    assert amid[0] == kept[0]
    assert len(amid) == 1  # the second window is closed by the end of the epoch
    assert resumed_differences(run, amid[0], *options) == []


@pytest.mark.parametrize("place", ["validated", pytest.param("epoch end", marks=pytest.mark.slow)])
def test_a_learning_rate_that_follows_a_figure_is_lowered_once_per_epoch(recorded, place):
    options = [*PLATEAU, "--data.steps_per_epoch", "1", "--trainer.max_epochs", "3"]
    run, kept = recorded(*options)
    epoch_end = next(path for path in kept if rate(path) == pytest.approx(1e-4))
    validated = kept[kept.index(epoch_end) - 1]
    assert rate(validated) == pytest.approx(1e-3)
    assert rate(run / "checkpoints" / "last.ckpt") == pytest.approx(1e-5)
    path = validated if place == "validated" else epoch_end
    assert resumed_differences(run, path, *options) == []


def rate(path):
    """The learning rate in a checkpoint."""
    return torch.load(path, weights_only=True)["optimizer_states"][0]["param_groups"][0]["lr"]
