# SPDX-License-Identifier: Apache-2.0
"""Options of the trainer have their meaning or are refused by name, before anything is written."""

import csv
import inspect
import json
import math
from datetime import timedelta
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image
from test_fit import TINY, fit, write_clip

from avkit.cli import main
from avkit.cli.trainer import make_cli
from avkit.cli.trainer_options import _REFUSED
from avkit.training.callbacks import read_history
from avkit.training.limits import limited
from avkit.training.run_folder import RunFolder

PLAIN = ("--report", "false")


def rows(run, key):
    return [row for row in read_history(run.history) if key in row]


@pytest.mark.skipif(bool(find_spec("tensorboard") or find_spec("tensorboardX")), reason="tensorboard is installed")
@pytest.mark.parametrize("name", ["tensorboard", "TensorBoardLogger"])
def test_a_logger_without_its_package_is_named(tmp_path, capsys, name):
    assert fit(tmp_path, "x", *PLAIN, "--trainer.logger", name, tasks="avs") == 2
    error = capsys.readouterr().err
    assert (
        "trainer.logger names TensorBoardLogger, which needs the package tensorboard, and it is not installed" in error
    )
    assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainer.precision", "16-true"], "trainer.precision is '16-true'; avkit takes 32-true, 16-mixed"),
        (["--trainer.precision", "bf16-true"], "trainer.precision is 'bf16-true'"),
        (["--trainer.precision", "16-mixed", "--trainer.accelerator", "cpu"], "Use --trainer.precision bf16-mixed"),
        (["--trainer.fast_dev_run", "true"], "trainer.fast_dev_run is True"),
        (["--trainer.limit_predict_batches", "2"], "trainer.limit_predict_batches is 2"),
        (["--trainer.use_distributed_sampler", "true"], "trainer.use_distributed_sampler is True"),
        (["--trainer.barebones", "true"], "trainer.barebones is True"),
        (["--trainer.plugins", "MixedPrecision"], "trainer.plugins"),
        (["--trainer.model_registry", "x"], "trainer.model_registry is 'x'"),
        (["--trainer.max_epochs", "-1"], "does not know when to fall"),
        (["--trainer.callbacks", "LearningRateMonitor"], "Add --trainer.logger csv"),
        (["--trainer.callbacks", "LearningRateFinder"], "use --model.lr"),
        (["--trainer.val_check_interval", "9"], "trainer.val_check_interval is 9 steps and an epoch has 5"),
        (["--trainer.limit_test_batches", "0", "--report", "true"], "the report needs a test"),
        (["--trainer.limit_train_batches", "0.01"], "leaves none of 5 batches"),
        (["--trainer.limit_train_batches", "0"], "trainer.limit_train_batches is 0"),
        (["--trainer.enable_checkpointing", "false", "--report", "true"], "Add --report false"),
        (["--trainer.accumulate_grad_batches", "2", "--model.surgery", "true"], "works on single steps"),
        (
            ["--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val/scor"],
            "Unknown figure for EarlyStopping 'val/scor'. Did you mean 'val/score'?",
        ),
        (["--lr_scheduler", "ReduceLROnPlateau", "--lr_scheduler.monitor", "loss"], "Unknown figure for lr_scheduler"),
        (["--data.scenes.test_size", "0"], "data.scenes.test_size is 0"),
    ],
)
def test_what_has_no_meaning_is_refused_before_the_folder_is_made(tmp_path, capsys, words, message):
    words = words if words[0] != "--lr_scheduler" else ["--optimizer", "Adam", *words]
    assert fit(tmp_path, "x", *PLAIN, *words, tasks="avs") == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_limits_count_for_each_task(tmp_path):
    words = ["--trainer.limit_val_batches", "1", "--trainer.limit_test_batches", "1", "--data.batch_size.trimmed", "2"]
    assert fit(tmp_path, "x", *words, "--trainer.max_epochs", "1", tasks="avs,avqa") == 0
    report = json.loads((tmp_path / "x" / "report.json").read_text())["rows"]
    assert {row["task"]: row["clips"] for row in report} == {"avs": 2, "avqa": 2}
    (validation,) = rows(RunFolder(tmp_path / "x"), "val/score")
    assert math.isfinite(validation["val/avs/mIoU"])
    assert math.isfinite(validation["val/avqa/Overall"])


def rates(tmp_path, *words):
    """Learning rates of a run's steps, as a logger wrote them."""
    monitor = ["--trainer.callbacks", "LearningRateMonitor", "--trainer.logger", "CSVLogger"]
    assert fit(tmp_path, "x", *PLAIN, *monitor, "--trainer.log_every_n_steps", "1", *words, tasks="avs") == 0
    (path,) = (tmp_path / "x").rglob("metrics.csv")
    with path.open() as file:
        return [float(row["lr-AdamW/pg1"]) for row in csv.DictReader(file) if row["lr-AdamW/pg1"]]


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (["--trainer.accumulate_grad_batches", "2"], 6),
        (["--trainer.limit_train_batches", "3"], 6),
        pytest.param(["--trainer.limit_train_batches", "0.6"], 6, marks=pytest.mark.slow),
        (["--trainer.max_steps", "7"], 7),
        pytest.param(["--trainer.max_steps", "7", "--trainer.max_epochs", "1"], 5, marks=pytest.mark.slow),
    ],
)
def test_the_rate_falls_until_the_last_step(tmp_path, words, steps):
    found = rates(tmp_path, *words)
    assert RunFolder(tmp_path / "x").last.exists()
    assert torch.load(RunFolder(tmp_path / "x").last, weights_only=True)["global_step"] == steps
    assert min(found) >= 0
    assert found[-1] < 0.3 * max(found)


def test_overfitting_takes_the_same_batch_in_every_epoch(tmp_path, monkeypatch):
    from avkit.training.module import AVModel

    seen = []
    plain = AVModel.training_step
    monkeypatch.setattr(AVModel, "training_step", lambda self, batch, i: seen.append(batch.id) or plain(self, batch, i))
    words = ["--trainer.overfit_batches", "1", "--trainer.max_epochs", "3"]
    assert fit(tmp_path, "x", *PLAIN, *words, tasks="avs") == 0
    assert len(seen) == 3
    assert seen[0] == seen[1] == seen[2]


def test_checkpoints_of_the_user_are_kept(tmp_path):
    words = ["--trainer.callbacks", "ModelCheckpoint", "--trainer.callbacks.monitor", "val/score"]
    words += ["--trainer.callbacks.mode", "max", "--trainer.callbacks.save_top_k", "-1"]
    assert fit(tmp_path, "x", *PLAIN, *words, tasks="avs") == 0
    names = {path.name for path in (tmp_path / "x" / "checkpoints").glob("*.ckpt")}
    assert names == {"best.ckpt", "last.ckpt", "epoch=0-step=5.ckpt", "epoch=1-step=10.ckpt"}


@pytest.mark.slow
def test_averaged_weights_are_tested_as_they_were_validated(tmp_path):
    words = [
        "--trainer.callbacks",
        "EMAWeightAveraging",
        "--trainer.callbacks.decay",
        "0.5",
        "--trainer.max_epochs",
        "1",
    ]
    assert fit(tmp_path, "x", *words, tasks="avs") == 0
    after_training = json.loads((tmp_path / "x" / "report.json").read_text())["rows"]
    assert main(["test", str(tmp_path / "x")]) == 0
    again = json.loads((tmp_path / "x" / "report.json").read_text())["rows"]
    assert [row["value"] for row in again] == pytest.approx([row["value"] for row in after_training], nan_ok=True)


@pytest.mark.slow
def test_stochastic_weight_averaging_runs_and_its_config_is_read_again(tmp_path):
    words = ["--trainer.callbacks", "StochasticWeightAveraging", "--trainer.callbacks.swa_lrs", "0.01"]
    assert fit(tmp_path, "x", *PLAIN, *words, tasks="avs") == 0
    assert fit(tmp_path, "y", *PLAIN, "--config", str(tmp_path / "x" / "config.yaml"), tasks="avs") == 0


def test_no_checkpoints_and_no_bar_where_none_are_wanted(tmp_path, capsys):
    words = ["--trainer.enable_checkpointing", "false", "--trainer.enable_progress_bar", "false"]
    assert fit(tmp_path, "x", *PLAIN, *words, tasks="avs") == 0
    assert not list((tmp_path / "x").rglob("*.ckpt"))
    assert "Epoch" not in capsys.readouterr().out


def test_a_checkpoint_of_another_model_leaves_its_run_as_it_was(tmp_path, capsys):
    assert fit(tmp_path, "x", *PLAIN, "--trainer.max_epochs", "1", tasks="avs") == 0
    run = RunFolder(tmp_path / "x")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    for tasks, words in (("avs,avqa", []), ("avs", ["--model.system.width", "48"])):
        assert fit(tmp_path, "x", *PLAIN, "--ckpt_path", str(run.last), *words, tasks=tasks) == 2
        error = capsys.readouterr().err
        assert "has heads for avs, this run is for avs,avqa" in error or "is of a model with other options" in error
        assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_a_task_without_a_figure_leaves_the_score_to_the_others(tmp_path, capsys):
    Image.fromarray(np.pad(np.full((24, 32), 255, np.uint8), ((12, 12), (16, 16)))).save(tmp_path / "m.png")
    lines = []
    for number, split in enumerate(["train", "train", "val", "val", "test"]):
        masks = [{"time": 0.5 + step, "file": "m.png"} for step in range(3)]
        events = [] if split == "val" else [{"label": "dog", "start": 0, "end": 2}]
        video = write_clip(tmp_path / f"{number}.mp4", seconds=3).name
        lines.append({"id": f"c{number}", "video": video, "split": split, "masks": masks, "events": events})
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["--data.manifest", str(manifest), "--data.steps_per_epoch", "4"]
    assert fit(tmp_path, "x", *words, tasks="avs,davel") == 0
    validations = rows(RunFolder(tmp_path / "x"), "val/score")
    assert [math.isfinite(row["val/score"]) for row in validations] == [True, True]
    assert validations[0]["val/score"] == pytest.approx(validations[0]["val/avs/mIoU"])
    assert capsys.readouterr().err.count("task 'davel' has no") == 1
    assert "is the mean of the other tasks" in (tmp_path / "x" / "report.md").read_text()


@pytest.mark.parametrize(
    ("limit", "count", "left"), [(None, 7, 7), (3, 7, 3), (9, 7, 7), (0, 7, 0), (0.5, 7, 3), (1.0, 7, 7), (0.0, 7, 0)]
)
def test_limits_count_as_in_lightning(limit, count, left):
    assert limited(limit, count, "x") == left


def test_wrong_limits_are_named():
    for limit, message in ((-1, "is -1; it is a number of batches"), (1.5, "is 1.5"), (0.1, "leaves none of 7")):
        with pytest.raises(ValueError, match=message):
            limited(limit, 7, "trainer.limit_val_batches")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.steps_per_epok", "3"], "Unknown option --data.steps_per_epok. Did you mean --data.steps_per_epoch?"),
        (["--max_epochs", "3"], "Unknown option --max_epochs. Did you mean --trainer.max_epochs?"),
        (["--data.scenes.val_siz", "3"], "Did you mean --data.scenes.val_size?"),
        (["--trainer.max_epochs", "x"], "--trainer.max_epochs is 'x'; it takes a whole number, null."),
        (["--trainer.precision", "bf17-mixed"], "Did you mean 'bf16-mixed'?"),
        (["--trainer.callbacks", "EarlyStoping"], "it takes the name of a class. Did you mean 'EarlyStopping'?"),
        (["--trainer.callbacks", "EarlyStopping"], "EarlyStopping: it needs --trainer.callbacks.monitor."),
        (["--trainer.callbacks.monitor", "x"], "belongs to a class: name it before, as --trainer.callbacks NAME."),
        (["--trainer.logger", "CSVLoger"], "Did you mean 'CSVLogger'?"),
        (["--optimizer", "Adamm"], "--optimizer is 'Adamm'; it takes the name of a class. Did you mean 'Adam'?"),
        (["--optimizer", "Adam", "--optimizer.l", "3"], "--optimizer Adam: it takes no 'l'."),
        (["--model.system.width", "wide"], "--model.system.width is 'wide'; it takes a whole number."),
        (["--report", "maybe"], "--report is 'maybe'; it takes true or false."),
        (["--trainer.max_epochs"], "--trainer.max_epochs needs a value."),
        (["--debu"], "Unknown option --debu."),
        (["avs"], "'avs' is no option: names of options begin with --"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--tasks", "avz"], "Unknown task 'avz'. Did you mean 'avs'?"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(capsys, words, message):
    assert main(["fit", "--tasks", "avs", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_an_unknown_entry_of_a_config_is_told_with_the_nearest(tmp_path, capsys):
    config = tmp_path / "own.yaml"
    for text, message in (
        ("model:\n  lrr: 3\n", "Unknown option model.lrr. Did you mean model.lr?"),
        ("trainer: [1\n", "own.yaml"),
    ):
        config.write_text(text)
        assert main(["fit", "--config", str(config)]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1


@pytest.mark.parametrize("command", ["test", "validate"])
def test_help_of_commands_on_runs(capsys, command):
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"usage: avkit {command} RUN" in out
    assert "--trust" in out


def test_debug_is_an_option_of_fit(tmp_path):
    with pytest.raises(ValueError, match="Unknown task 'avz'"):
        main(["fit", "--debug", "--tasks", "avz"])


FAILING = """
from avkit.datasets.scenes import Scenes


class Closed(Scenes):
    @classmethod
    def open(cls, split, options):
        return len(3)


class Broken(Scenes):
    def item(self, index, fields=None):
        return super().item(index, fields) + 1
"""


@pytest.mark.parametrize(("name", "line"), [("Closed", 8), ("Broken", 13)])
@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_outside_part_that_fails_is_named_with_its_line(tmp_path, monkeypatch, capsys, name, line, workers):
    module = f"failing{name}{workers}"
    (tmp_path / f"{module}.py").write_text(FAILING)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["--data.dataset", f"{module}:{name}", "--data.loader.workers", workers]
    assert fit(tmp_path, "x", *PLAIN, *words, tasks="avs") == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / module}.py, line {line}" in error
    assert "TypeError: " in error
    assert "--debug" in error
    assert len(error.splitlines()) == 1
    with pytest.raises(TypeError):
        fit(tmp_path, "x", *PLAIN, *words, "--debug", tasks="avs")


#: For each option of the trainer what is typed, and what the trainer makes of it; None where avkit refuses it by name.
EFFECTS = {
    "accelerator": ("cpu", lambda t: type(t.accelerator).__name__ == "CPUAccelerator"),
    "strategy": ("ddp", lambda t: t.strategy._ddp_kwargs == {}),
    "devices": ("2", lambda t: t.world_size == 2),
    "num_nodes": ("1", lambda t: t.num_nodes == 1),
    "precision": ("bf16-mixed", lambda t: t.precision == "bf16-mixed"),
    "logger": ("CSVLogger", lambda t: type(t.logger).__name__ == "CSVLogger"),
    "callbacks": ("EarlyStopping", lambda t: len(t.early_stopping_callbacks) == 1),
    "fast_dev_run": None,
    "max_epochs": ("7", lambda t: t.max_epochs == 7),
    "min_epochs": ("2", lambda t: t.min_epochs == 2),
    "max_steps": ("99", lambda t: t.max_steps == 99),
    "min_steps": ("3", lambda t: t.min_steps == 3),
    "max_time": ("00:01:00:00", lambda t: any(getattr(c, "_duration", 0) == 3600 for c in t.callbacks)),
    "limit_train_batches": ("4", lambda t: t.datamodule.limits.train == 4),
    "limit_val_batches": ("1", lambda t: t.datamodule.limits.val == 1),
    "limit_test_batches": ("1", lambda t: t.datamodule.limits.test == 1),
    "limit_predict_batches": None,
    "overfit_batches": ("2", lambda t: t.datamodule.limits.overfit == 2),
    "val_check_interval": ("2", lambda t: t.val_check_interval == 2),
    "check_val_every_n_epoch": ("3", lambda t: t.check_val_every_n_epoch == 3),
    "num_sanity_val_steps": ("1", lambda t: t.num_sanity_val_steps == 1),
    "log_every_n_steps": ("5", lambda t: t.log_every_n_steps == 5),
    "enable_checkpointing": ("false", lambda t: not t.checkpoint_callbacks),
    "enable_progress_bar": ("false", lambda t: t.progress_bar_callback is None),
    "enable_model_summary": ("true", lambda t: any(type(c).__name__.endswith("ModelSummary") for c in t.callbacks)),
    "accumulate_grad_batches": ("2", lambda t: t.accumulate_grad_batches == 2),
    "gradient_clip_val": ("0.5", lambda t: t.gradient_clip_val == 0.5),
    "gradient_clip_algorithm": ("value", lambda t: t.gradient_clip_algorithm == "value"),
    "deterministic": ("true", lambda t: torch.are_deterministic_algorithms_enabled()),
    "benchmark": ("true", lambda t: torch.backends.cudnn.benchmark),
    "inference_mode": ("false", lambda t: t.test_loop.inference_mode is False),
    "use_distributed_sampler": None,
    "profiler": ("simple", lambda t: type(t.profiler).__name__ == "SimpleProfiler"),
    "detect_anomaly": ("true", lambda t: t._detect_anomaly),
    "barebones": None,
    "plugins": None,
    "sync_batchnorm": ("true", lambda t: t.strategy._layer_sync is not None),
    "reload_dataloaders_every_n_epochs": ("2", lambda t: t.reload_dataloaders_every_n_epochs == 2),
    "default_root_dir": ("elsewhere", lambda t: t.default_root_dir.endswith("elsewhere")),
    "enable_autolog_hparams": ("false", lambda t: t.enable_autolog_hparams is False),
    "model_registry": None,
}


def test_every_option_of_the_trainer_is_taken_or_refused_by_name():
    assert set(EFFECTS) == {*inspect.signature(Trainer.__init__).parameters} - {"self"}
    refused = {name for name, effect in EFFECTS.items() if effect is None}
    assert refused == set(_REFUSED)


def test_what_is_typed_reaches_the_trainer_and_the_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = {name: effect for name, effect in EFFECTS.items() if effect is not None}
    words = ["--tasks", "avs", *TINY, "--report", "false"]
    for name, (value, _) in typed.items():
        words += [f"--trainer.{name}", value]
    cli = make_cli([*words, "--trainer.callbacks.monitor", "val/score"], training=True)
    cli.attach(RunFolder(tmp_path / "run"), training=True)
    cli.trainer.datamodule = cli.datamodule
    try:
        assert [name for name, (_, effect) in typed.items() if not effect(cli.trainer)] == []
        lost = []
        for name, (value, _) in typed.items():
            kept = cli.config.trainer[name]
            if value.lower() not in str(kept).lower() and not isinstance(kept, timedelta):
                lost.append(name)
        assert lost == []
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = False
