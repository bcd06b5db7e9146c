# SPDX-License-Identifier: Apache-2.0
"""Loggers of Lightning by name, which write into the run's folder unless they are given another."""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

import lightning as L
from lightning.pytorch.loggers import CSVLogger, Logger

from avkit.training.run_folder import RunFolder

#: Stands for the folder of the run in a logger's arguments, in a run's config too.
RUN_FOLDER = "<run folder>"
#: Loggers that must be given a folder.
_NEED_FOLDER = ("CSVLogger", "TensorBoardLogger", "WandbLogger", "MLFlowLogger")
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
        words += ["--trainer.logger.save_dir", RUN_FOLDER]
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
        folder = {"save_dir": RUN_FOLDER} if name in _NEED_FOLDER else {}
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
        if arguments.get("save_dir") == RUN_FOLDER:
            logger = type(logger)(**(arguments | {"save_dir": str(run.path)}))
        loggers.append(logger)
    trainer.loggers = loggers
