# SPDX-License-Identifier: Apache-2.0
"""Loggers of Lightning by name, which write into the run's folder unless they are given another."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import pairwise

import lightning as L
from lightning.pytorch.loggers import CSVLogger, Logger

from avkit.training.run_folder import RunFolder

#: Stands for the folder of the run in a logger's arguments, in a run's config too.
RUN_FOLDER = "<run folder>"
#: Loggers that must be given a folder.
_NEED_FOLDER = {
    "CSVLogger": RUN_FOLDER,
    "TensorBoardLogger": RUN_FOLDER,
    "WandbLogger": RUN_FOLDER,
    "MLFlowLogger": f"{RUN_FOLDER}/mlruns",  # all that lies in its folder must be its own
}
#: Short names.
_SHORT = {
    "csv": "CSVLogger",
    "tensorboard": "TensorBoardLogger",
    "wandb": "WandbLogger",
    "mlflow": "MLFlowLogger",
}
#: The option, and avkit's short form of it.
_OPTIONS = ("--trainer.logger", "--logger")


def with_logger_folder(args: Sequence[str]) -> list[str]:
    """The words of a command, with the run's folder for a logger that is given none."""
    words = list(_long_names(args))
    given = any(word.partition("=")[0] == "--trainer.logger.save_dir" for word in words)
    named = [word for option, word in pairwise(words) if option == "--trainer.logger"]
    if not given and named and named[-1].rpartition(".")[2] in _NEED_FOLDER:
        words += ["--trainer.logger.save_dir", _NEED_FOLDER[named[-1].rpartition(".")[2]]]
    if any("MLFlowLogger" in name for name in named):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3.17 asks for it; a run is kept in files
    return words


def _long_names(args: Sequence[str]) -> Iterator[str]:
    """The words with classes for short names, and both forms of the option as `--trainer.logger NAME`."""
    is_name = False
    for word in args:
        option, equals, value = word.partition("=")
        if option in _OPTIONS and not is_name:
            yield _OPTIONS[0]
            is_name = True
            if not equals:
                continue
            word = value
        yield _class_of(word) if is_name else word
        is_name = False


def _class_of(names: str) -> str:
    """The class of a short name; several, separated by commas, as a list of classes with the run's folder."""
    if "," not in names or names.startswith(("[", "{")):
        return _SHORT.get(names, names)
    classes = [_SHORT.get(name.strip(), name.strip()) for name in names.split(",")]
    entries: list[dict[str, object]] = []
    for name in classes:
        folder = {"save_dir": _NEED_FOLDER[name]} if name in _NEED_FOLDER else {}
        entries.append({"class_path": name, "init_args": folder})
    return json.dumps(entries)


def place_loggers(trainer: L.Trainer, run: RunFolder, given: object) -> None:
    """Give a trainer's loggers the folder of the run where they were given none.

    Args:
        trainer: The trainer.
        run: Folder of the run.
        given: The option `trainer.logger`: true for the default, a logger's class and arguments, or several.
    """
    if given is True:
        trainer.loggers = [CSVLogger(run.path)]
        return
    entries = given if isinstance(given, list) else [given]
    loggers: list[Logger] = []
    for logger, entry in zip(trainer.loggers, entries, strict=False):
        arguments = dict(vars(entry.init_args)) if hasattr(entry, "init_args") else {}
        folder = str(arguments.get("save_dir") or "")
        if folder.startswith(RUN_FOLDER):
            logger = type(logger)(**(arguments | {"save_dir": folder.replace(RUN_FOLDER, str(run.path), 1)}))
            shutil.rmtree(RUN_FOLDER, ignore_errors=True)  # MLflow makes its folder as soon as it is named
        loggers.append(logger)
    trainer.loggers = loggers
