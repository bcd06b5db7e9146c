# SPDX-License-Identifier: Apache-2.0
"""Where Lightning's loops are, and checkpoints from which they go on exactly there.

Lightning takes it that a checkpoint of an epoch's last step is followed by a finished validation. One that was saved
before the validation is changed so that it reads as saved in the validation's first step: then Lightning runs it again.
"""

from collections.abc import Mapping
from typing import Any

import lightning as L

_BATCHES = "epoch_loop.batch_progress"
_VALIDATION = "epoch_loop.val_loop.batch_progress"
#: Key of a checkpoint from which the end of an epoch comes a second time.
EPOCH_END_REPEATED = "epoch_end_repeated"


def in_accumulation(trainer: L.Trainer) -> bool:
    """Whether gradients of finished batches wait for further ones."""
    loop = trainer.fit_loop.epoch_loop
    counts = loop.batch_progress.state_dict()["current"]
    epoch_is_over = counts["processed"] == counts["ready"] and loop._num_ready_batches_reached()
    return bool(counts["processed"] % trainer.accumulate_grad_batches) and not epoch_is_over


def validation_follows(trainer: L.Trainer) -> bool:
    """Whether a validation comes next, after the training step that ends."""
    fetcher = trainer.fit_loop._data_fetcher
    return fetcher is not None and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)


def training_ends(trainer: L.Trainer) -> bool:
    """Whether the training step that ends is the last that `max_steps` allows."""
    return 0 <= trainer.max_steps <= trainer.global_step


def epoch_ends(trainer: L.Trainer) -> bool:
    """Whether the training step that ends is the last of its epoch."""
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def require_validation(trainer: L.Trainer, checkpoint: dict[str, Any]) -> None:
    """Have training go on with the validation, where a checkpoint is saved at the end of the step before it.

    Args:
        trainer: The trainer, which saves in the hook of a step's end or of a validation's start.
        checkpoint: The checkpoint, changed in place.
    """
    if not _precedes_validation(trainer):
        return
    loops = checkpoint["loops"]["fit_loop"]
    for counts in (loops[_BATCHES]["total"], loops[_BATCHES]["current"]):
        counts["completed"] = counts["processed"]
    total = loops[_VALIDATION]["total"]
    total["ready"] = total["completed"] + 1
    total["started"] = total["completed"] + 1
    loops[_VALIDATION]["current"] = dict.fromkeys(loops[_VALIDATION]["current"], 0)


def _precedes_validation(trainer: L.Trainer) -> bool:
    if trainer.validating:
        return trainer.fit_loop.epoch_loop.val_loop.batch_progress.current.ready == 0
    counts = trainer.fit_loop.epoch_loop.batch_progress.current
    in_step = counts.ready > counts.completed
    return trainer.training and in_step and validation_follows(trainer)


def repeat_epoch_end(trainer: L.Trainer, checkpoint: dict[str, Any]) -> None:
    """Have training go on with the end of an epoch, where a checkpoint is saved there and `max_steps` is given.

    Lightning then takes the next epoch for the one that ended, and counts one too many. Where a validation was part of
    the epoch's last step, Lightning ends that step a second time, and so counts it a second time.
    """
    progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]
    ended = trainer.training and progress["current"]["processed"] == progress["current"]["started"]
    if not ended or trainer.max_steps == -1:
        return
    checkpoint[EPOCH_END_REPEATED] = progress["current"]["completed"] < progress["current"]["processed"]
    for counts in (progress["total"], progress["current"]):
        counts["processed"] = counts["completed"]
    if validation_follows(trainer):
        checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


def validation_was_due(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint was saved before or amid a validation, with which training then goes on."""
    total = checkpoint["loops"]["fit_loop"][_VALIDATION]["total"]
    return bool(total["started"] > total["completed"])


def start_validation(trainer: L.Trainer) -> None:
    """Count a validation that is run again, after `require_validation`, as if it were run for the first time."""
    trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset_on_restart()


def update_plateau_schedulers(trainer: L.Trainer, *, done: bool) -> None:
    """Update the schedulers that follow a figure, at an epoch's end, in place of Lightning, which does so after saves.

    Args:
        trainer: The trainer, in the hook of an epoch's end.
        done: Whether they have been updated for this epoch before it was saved.
    """
    loop = trainer.fit_loop
    if not done and loop.epoch_loop._num_ready_batches_reached():
        loop.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
    loop._restarting = True  # until the epoch is over: Lightning then leaves out its own update
