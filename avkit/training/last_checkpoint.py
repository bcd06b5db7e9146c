# SPDX-License-Identifier: Apache-2.0
"""The checkpoint from which a training goes on: when it is saved, and how a training that is asked to end ends."""

import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint
from torch import Tensor

from avkit.errors import Stopped
from avkit.training.accumulation import gradients_of, restore_gradients, waiting_gradients
from avkit.training.loop_state import (
    epoch_ends,
    in_accumulation,
    repeat_epoch_end,
    require_validation,
    start_validation,
    training_ends,
    validation_follows,
    validation_was_due,
)
from avkit.training.run_folder import RunFolder
from avkit.training.stop_signals import STOP_SIGNALS

#: Key of a checkpoint with the gradients that wait for further steps, of each process.
_GRADIENTS = "gradients"


class LastCheckpoint(Checkpoint):
    """Saves `last.ckpt` where training can go on as if it had never stopped.

    It is saved every few minutes, every few steps if wanted, before each validation, after each epoch, and when the
    process is asked to end. After the last step it is saved with the end of its epoch, which follows at once. Amid
    accumulated gradients it is saved before a validation alone; any checkpoint that is saved there holds them. It is
    never saved amid a validation, which is run again.

    Args:
        run: Folder of the run.
        minutes: Minutes between two saves.
        steps: Steps between two saves; 0 for saves by the clock only.
    """

    def __init__(self, run: RunFolder, minutes: float = 2.0, steps: int = 0) -> None:
        self.run = run
        self.seconds = 60 * minutes
        self.steps = steps
        self.saved_at = time.monotonic()
        #: Step of the last save, or of the checkpoint that training resumes from.
        self.saved_step = -1
        #: Gradients that waited when the checkpoint was saved that training resumes from.
        self._gradients: dict[str, Tensor] = {}
        #: Whether all steps are done, but not the validation after the last one.
        self._only_validation_is_left = False

    def on_fit_start(self, trainer: L.Trainer, *args: object) -> None:
        """Let Lightning, which does nothing where `max_steps` is reached, begin with the validation that is left."""
        if self._only_validation_is_left:
            trainer.fit_loop.epoch_loop.max_steps += 1

    def on_train_start(self, trainer: L.Trainer, *args: object) -> None:
        """From now on a signal ends training after a step; a training that has stopped early stays stopped."""
        STOP_SIGNALS.training = True
        restore_gradients(trainer.lightning_module, self._gradients)
        self._gradients = {}
        self.saved_step = trainer.global_step
        if any(_has_stopped(callback) for callback in trainer.early_stopping_callbacks):
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: L.Trainer, *args: object) -> None:
        """Save if it is time, or if the process is asked to end."""
        if in_accumulation(trainer) or validation_follows(trainer) or epoch_ends(trainer) or training_ends(trainer):
            return
        save, number = _decided_together(trainer, self._is_due(trainer), _received())
        if save or number:
            self._save(trainer)
        _stop_if_asked(number)

    def _is_due(self, trainer: L.Trainer) -> bool:
        counted = bool(self.steps) and trainer.global_step >= self.saved_step + self.steps
        return counted or time.monotonic() - self.saved_at >= self.seconds

    def on_validation_start(self, trainer: L.Trainer, *args: object) -> None:
        """Save; from now on a signal ends the process at once."""
        if trainer.sanity_checking or not trainer.validating or trainer.state.fn != "fit":
            return
        start_validation(trainer)
        if self._only_validation_is_left:
            trainer.fit_loop.epoch_loop.max_steps -= 1
            self._only_validation_is_left = False
        _, number = _decided_together(trainer, True, _received())
        self._save(trainer)
        _stop_if_asked(number)
        STOP_SIGNALS.training = False

    def on_validation_end(self, trainer: L.Trainer, *args: object) -> None:
        """From now on a signal ends training after a step."""
        STOP_SIGNALS.training = trainer.state.fn == "fit" and not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: L.Trainer, *args: object) -> None:
        """Save, with the scores of the validation."""
        _, number = _decided_together(trainer, True, _received())
        self._save(trainer)
        _stop_if_asked(number)

    def on_train_end(self, trainer: L.Trainer, *args: object) -> None:
        """From now on a signal ends the process at once, as does one that came after the last save."""
        STOP_SIGNALS.training = False
        _, number = _decided_together(trainer, False, _received())
        _stop_if_asked(number)

    def on_exception(self, *args: object) -> None:
        """From now on a signal ends the process at once."""
        STOP_SIGNALS.training = False

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Have training go on from any checkpoint, this or a user's, with what comes next."""
        if trainer.state.fn == "fit":
            if in_accumulation(trainer):
                checkpoint[_GRADIENTS] = waiting_gradients(pl_module)
            require_validation(trainer, checkpoint)
            repeat_epoch_end(trainer, checkpoint)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the last score, which Lightning leaves out, and the best one also where the run has been moved."""
        self._gradients = gradients_of(checkpoint.get(_GRADIENTS, [{}]), trainer.global_rank, trainer.world_size)
        all_steps_are_done = 0 <= trainer.max_steps <= checkpoint["global_step"]
        self._only_validation_is_left = all_steps_are_done and validation_was_due(checkpoint)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                state = checkpoint.get("callbacks", {}).get(callback.state_key, {})
                callback.current_score = state.get("current_score")
        folder = self.run.checkpoints.resolve()
        source = trainer.ckpt_path
        if source is None or Path(source).resolve().parent != folder:
            return
        for state in checkpoint.get("callbacks", {}).values():
            if isinstance(state, dict) and "best_model_path" in state:
                _move_paths(state, folder)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.run.last, weights_only=False)
        self.saved_at = time.monotonic()
        self.saved_step = trainer.global_step


def _received() -> int:
    """The signal by which this process was asked to end; 0 if it was not."""
    return int(STOP_SIGNALS.received or 0)


def _decided_together(trainer: L.Trainer, save: bool, number: int) -> tuple[bool, int]:
    """Whether to save, and the signal received, of any process: all of them take part in a save, and all end."""
    if trainer.world_size == 1:
        return save, number
    decision = torch.tensor([int(save), number], device=trainer.strategy.root_device)
    dist.all_reduce(decision, dist.ReduceOp.MAX)
    return bool(decision[0]), int(decision[1])


def _stop_if_asked(number: int) -> None:
    if number:
        raise Stopped(number)


def _has_stopped(callback: EarlyStopping) -> bool:
    return callback.stopped_epoch > 0 or callback.wait_count >= callback.patience


def _move_paths(state: dict[str, Any], folder: Path) -> None:
    """Change the state of a `ModelCheckpoint` that wrote into a folder which is now `folder`."""
    before = str(state.get("dirpath") or "")
    if Path(before).name != folder.name:  # a user's, which writes elsewhere
        return
    state["dirpath"] = str(folder)
    for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[name] = _moved(state.get(name) or "", before, folder)
    scores = state.get("best_k_models") or {}
    state["best_k_models"] = {_moved(path, before, folder): score for path, score in scores.items()}


def _moved(path: str, before: str, folder: Path) -> str:
    if path and str(Path(path).parent) == before:
        return str(folder / Path(path).name)
    return path
