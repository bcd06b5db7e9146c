# SPDX-License-Identifier: Apache-2.0
"""The callbacks that a user asks for, beside those of avkit."""

from collections.abc import Sequence

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, ModelSummary, Timer

from avkit.training.run_folder import RunFolder


class GivenCheckpoint(ModelCheckpoint):
    """A checkpoint callback of the user's; its state has the name of its class, so that avkit's own is another."""


def given_callbacks(trainer: L.Trainer, asked: Sequence[Callback] | Callback | None, run: RunFolder) -> list[Callback]:
    """The callbacks that the user asks for, without those that avkit replaces; checkpoints lie in the run's folder.

    Lightning has a callback for `max_time` and one for `enable_model_summary`, and further ones unasked.

    Args:
        trainer: The trainer, with all that Lightning made.
        asked: What the user named.
        run: The run's folder.
    """
    wanted = asked if isinstance(asked, list) else [asked]
    callbacks = [
        callback
        for callback in vars(trainer)["callbacks"]
        if callback in wanted or isinstance(callback, Timer | ModelSummary)
    ]
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = str(run.checkpoints)
        if type(callback) is ModelCheckpoint:
            callback.__class__ = GivenCheckpoint
    return callbacks
