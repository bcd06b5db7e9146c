# SPDX-License-Identifier: Apache-2.0
"""How many optimizer steps a run has."""

import math

import lightning as L

from avkit.training.datamodule import AVDataModule


def total_steps(trainer: L.Trainer) -> int:
    """Optimizer steps of the whole run.

    Lightning's own estimate would open the training loader before a checkpoint has set where it continues, so it is
    used only where the data module does not tell its length.
    """
    data = vars(trainer).get("datamodule")
    limits = [trainer.max_steps] if trainer.max_steps > 0 else []
    if trainer.max_epochs and trainer.max_epochs > 0 and isinstance(data, AVDataModule):
        per_epoch = math.ceil(data.steps / trainer.accumulate_grad_batches)  # an epoch's end closes a window
        limits.append(trainer.max_epochs * per_epoch)
    return max(1, min(limits) if limits else int(trainer.estimated_stepping_batches))
