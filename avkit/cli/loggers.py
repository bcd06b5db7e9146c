# SPDX-License-Identifier: Apache-2.0
"""Loggers of Lightning by name, which write into the run's folder unless they are given another."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import lightning as L
from lightning.pytorch.loggers import CSVLogger, Logger

from avkit.training.run_folder import RunFolder

#: Stands for the folder of the run in a logger's arguments, in a run's config too.
RUN_FOLDER = "<run folder>"
#: Loggers that must be given a folder.
_NEED_FOLDER = ("CSVLogger", "TensorBoardLogger")
#: Short names.
_SHORT = {"csv": "CSVLogger", "tensorboard": "TensorBoardLogger"}


def with_logger_folder(args: Sequence[str]) -> list[str]:
    """The words of a command, with the run's folder for a logger that is given none."""
    words = list(_long_names(args))
    given = any(word.partition("=")[0] == "--trainer.logger.save_dir" for word in words)
    named = [word for option, word in pairwise(words) if option == "--trainer.logger"]
    if not given and named and named[-1].rpartition(".")[2] in _NEED_FOLDER:
        words += ["--trainer.logger.save_dir", RUN_FOLDER]
    return words


def _long_names(args: Sequence[str]) -> Iterator[str]:
    """The words with classes for short names, and `--trainer.logger NAME` as two words."""
    is_name = False
    for word in args:
        option, equals, value = word.partition("=")
        if option == "--trainer.logger" and equals:
            yield option
            word = value
            is_name = True
        yield _SHORT.get(word, word) if is_name else word
        is_name = word == "--trainer.logger"


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
