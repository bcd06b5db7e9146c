# SPDX-License-Identifier: Apache-2.0
"""How far a process has come, in words that tell one which waits from one that others wait for."""

import lightning as L
from lightning.pytorch.loops.progress import _BatchProgress
from lightning.pytorch.trainer.states import TrainerFn


def position(trainer: L.Trainer) -> str:
    """What a trainer is doing, and how many batches it has read for it, such as `training, epoch 2, batch 120`."""
    if trainer.training:
        return f"training, epoch {trainer.current_epoch + 1}, {_read(trainer.fit_loop.epoch_loop.batch_progress)}"
    if trainer.validating and trainer.state.fn == TrainerFn.FITTING:
        return f"validation, {_read(trainer.fit_loop.epoch_loop.val_loop.batch_progress)}"
    if trainer.validating:
        return f"validation, {_read(trainer.validate_loop.batch_progress)}"
    if trainer.testing:
        return f"test, {_read(trainer.test_loop.batch_progress)}"
    return "between two stages"


def _read(batches: _BatchProgress) -> str:
    return f"batch {batches.current.ready}"
