# SPDX-License-Identifier: Apache-2.0
"""Learning rates that follow a figure (`ReduceLROnPlateau`): updated before an epoch's end is saved."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from avkit.training.loop_state import EPOCH_END_REPEATED, update_plateau_schedulers

#: Key of a checkpoint with the figures of the last validation.
_FIGURES = "figures"


class PlateauUpdate(Callback):
    """Updates schedulers that follow a figure at an epoch's end, and keeps the figures of a validation in checkpoints.

    Lightning updates them after the end of an epoch has been saved, so that a training that goes on from there lacks
    one update, and keeps no figures, so that one that goes on from a validation cannot make it.
    """

    def __init__(self) -> None:
        self._figures: dict[str, Tensor] = {}
        self._updated = False

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the figures of the last validation."""
        figures = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        checkpoint[_FIGURES] = {name: value.detach().cpu() for name, value in figures.items()}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remember the figures, and whether the epoch's end comes a second time."""
        self._figures = checkpoint.get(_FIGURES, {})
        self._updated = bool(checkpoint.get(EPOCH_END_REPEATED))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the figures."""
        figures = {name: value.to(pl_module.device) for name, value in self._figures.items()}
        trainer._logger_connector._callback_metrics.update(figures)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Update the schedulers, before anything is saved."""
        update_plateau_schedulers(trainer, done=self._updated)
        self._updated = False
