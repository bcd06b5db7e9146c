# SPDX-License-Identifier: Apache-2.0
"""What loggers are given of a run."""

import csv
import json

import numpy as np
import pytest
import yaml

from avkit.cli import main
from avkit.cli.loggers import RUN_FOLDER, with_logger_folder

MLRUNS = f"{RUN_FOLDER}/mlruns"
FIT = ["fit", "--tasks", "avs", "--report", "false", "--trainer.max_steps", "2", "--data.steps_per_epoch", "2"]
FIT += ["--data.scenes.train_size", "8", "--data.scenes.val_size", "2", "--data.scenes.test_size", "2"]
FIT += ["--data.loader.workers", "0", "--data.image_size", "32", "--model.system.width", "32", "--name", "x"]
FIT += ["--trainer.log_every_n_steps", "1", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--logger", "csv"], ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", RUN_FOLDER]),
        (["--logger=wandb"], ["--trainer.logger", "WandbLogger", "--trainer.logger.save_dir", RUN_FOLDER]),
        (["--trainer.logger=mlflow"], ["--trainer.logger", "MLFlowLogger", "--trainer.logger.save_dir", MLRUNS]),
        (["--logger", "csv", "--trainer.logger.save_dir", "y"], None),
        (["--logger", "true"], ["--trainer.logger", "true"]),
        (["--name", "csv"], ["--name", "csv"]),
        (["--out", "--logger", "csv"], None),
    ],
)
def test_short_names_become_classes_with_the_folder_of_the_run(words, expected):
    got = with_logger_folder(words)
    if expected is not None:
        assert got == expected
    elif "y" in words:
        assert got == ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "y"]


def test_several_loggers_become_a_list():
    option, entries = with_logger_folder(["--logger", "csv, tensorboard"])
    assert option == "--trainer.logger"
    assert json.loads(entries) == [
        {"class_path": "CSVLogger", "init_args": {"save_dir": RUN_FOLDER}},
        {"class_path": "TensorBoardLogger", "init_args": {"save_dir": RUN_FOLDER}},
    ]


def test_csv_has_options_rates_losses_and_scores(tmp_path):
    assert main([*FIT, "--out", str(tmp_path), "--logger", "csv"]) == 0
    (path,) = (tmp_path / "x").rglob("metrics.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert sum(bool(row["train/avs/loss"]) for row in rows) == 2
    assert sum(bool(row["lr-AdamW/pg1"]) for row in rows) == 2
    assert sum(bool(row["val/avs/mIoU"]) for row in rows) == 1
    options = yaml.safe_load(path.with_name("hparams.yaml").read_text())
    assert options["model.system.width"] == 32
    assert options["tasks"] == "avs"


def test_tensorboard_has_pictures_too(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main([*FIT, "--out", str(tmp_path), "--logger", "tensorboard,csv"]) == 0
    (path,) = (tmp_path / "x").rglob("events.out.*")
    events = EventAccumulator(str(path.parent)).Reload()
    tags = events.Tags()
    assert {"train/avs/loss", "lr-AdamW/pg1", "val/avs/mIoU", "val/score"} <= set(tags["scalars"])
    assert [event.step for event in events.Scalars("train/avs/loss")] == [0, 1]
    assert tags["images"] == ["val/avs/example"]
    (image,) = events.Images("val/avs/example")
    assert image.width > image.height > 0
    from io import BytesIO

    from PIL import Image

    assert np.asarray(Image.open(BytesIO(image.encoded_image_string))).std() > 5
    assert list((tmp_path / "x").rglob("metrics.csv"))


def test_callbacks_and_flags_of_the_user_stay(tmp_path):
    words = ["--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val/score"]
    words += ["--trainer.callbacks+", "ModelCheckpoint", "--trainer.callbacks.filename", "mine"]
    words += ["--trainer.callbacks+", "LearningRateMonitor"]
    assert main([*FIT, "--out", str(tmp_path), "--logger", "csv", *words]) == 0
    assert list((tmp_path / "x").rglob("mine.ckpt"))
    config = yaml.safe_load((tmp_path / "x" / "config.yaml").read_text())
    assert [entry["class_path"].rpartition(".")[2] for entry in config["trainer"]["callbacks"]] == [
        "EarlyStopping",
        "ModelCheckpoint",
        "LearningRateMonitor",
    ]
