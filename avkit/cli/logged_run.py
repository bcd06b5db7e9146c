# SPDX-License-Identifier: Apache-2.0
"""What loggers of Lightning are given beside losses and scores: options of the run, and examples as pictures."""

from collections.abc import Iterator, Mapping
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from avkit.batch import Batch
from avkit.cli.examples import examples
from avkit.report.images import Pixels
from avkit.report.records import Example
from avkit.report.run import draw_frame
from avkit.training.module import AVModel

#: Most frames of an example side by side.
_FRAMES = 6
#: Options that say how a run is kept, and not how it trains.
_NOT_LOGGED = ("config", "trainer.logger", "trainer.callbacks")


class LoggedRun(Callback):
    """Logs the options of a run at its start, and after each validation one example of each task.

    Args:
        options: All options, nested.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = dict(_flat(options))
        self._shown: dict[str, Batch] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the options."""
        for logger in trainer.loggers:
            logger.log_hyperparams(self.options)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first sample of each benchmark."""
        if trainer.is_global_zero and batch.benchmark not in self._shown:
            self._shown[batch.benchmark] = batch.sample(0)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the kept samples with their answers."""
        shown = {name: [batch] for name, batch in self._shown.items()}
        self._shown = {}
        loggers = [logger for logger in trainer.loggers if _takes_images(logger)]
        if not loggers or trainer.sanity_checking or not isinstance(pl_module, AVModel):
            return
        for example in examples(pl_module, shown):
            if not example.images:
                continue
            for logger in loggers:
                _log_image(logger, f"val/{example.task}/example", _strip(example), trainer.global_step)


def add_logging(trainer: L.Trainer, options: Mapping[str, Any]) -> None:
    """Have a trainer with loggers log options, examples and the learning rate, unless the user monitors that already.

    Args:
        trainer: The trainer, with its callbacks.
        options: All options of the run, nested.
    """
    added: list[Callback] = [LoggedRun(options)]
    callbacks = vars(trainer)["callbacks"]
    if not any(isinstance(callback, LearningRateMonitor) for callback in callbacks):
        added.append(LearningRateMonitor("step"))
    vars(trainer)["callbacks"] = [*added, *callbacks]


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    """Options with a value by their full names; lists as text."""
    for name, value in options.items():
        path = f"{prefix}{name}"
        if value is None or path in _NOT_LOGGED:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}.")
        elif isinstance(value, str | int | float | bool):
            yield path, value
        else:
            yield path, str(value)


def _strip(example: Example) -> Pixels:
    """Some frames of an example side by side, with what was predicted and the outline of what is true."""
    count = len(example.images)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _FRAMES)).round().astype(int))
    frames = [draw_frame(example, index, example.masks, example.heats) for index in chosen.tolist()]
    return np.concatenate(frames, axis=1)


def _takes_images(logger: Logger) -> bool:
    return isinstance(logger, TensorBoardLogger | WandbLogger | MLFlowLogger)


def _log_image(logger: Logger, name: str, image: Pixels, step: int) -> None:
    """Log a picture, uint8 (H, W, 3)."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, image, step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [image])
    elif isinstance(logger, MLFlowLogger):
        run = logger.run_id
        logger.experiment.log_image(run, image, artifact_file=f"{name.replace('/', '-')}-{step}.png")
