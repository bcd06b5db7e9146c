# SPDX-License-Identifier: Apache-2.0
"""Callbacks of training: checkpoints that are never half written, history and progress."""

import errno
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from avkit.errors import FileError, RunError
from avkit.files import atomic
from avkit.reading.remote import is_there
from avkit.reading.tensors import read_torch
from avkit.training.history import History, read_history
from avkit.training.last_checkpoint import LastCheckpoint
from avkit.training.plateau import PlateauUpdate
from avkit.training.progress import progress
from avkit.training.run_folder import RunFolder
from avkit.training.weights_file import write_weights

__all__ = ["AtomicCheckpointIO", "History", "LastCheckpoint", "read_history", "training_callbacks"]

#: Blocks of a megabyte by which the reason of a failed write is found.
_PROBE_BLOCKS = 64


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that get their name only when they are whole, with the weights as safetensors beside them."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object | None = None
    ) -> None:
        """Write `path`, and the weights in a file of the same name that ends in `.safetensors`."""
        path = Path(path)
        with atomic(path) as part:
            _write(part, checkpoint)
        write_weights(path, checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read tensors and plain values, nothing that could run code.

        Raises:
            RunError: If the file is missing or is not such a checkpoint.
        """
        if not is_there(path):
            raise RunError(f"Checkpoint {path} does not exist. Name a file under RUN/checkpoints, or 'last'.")
        if Path(path).suffix == ".safetensors":
            raise _weights_alone(Path(path))
        try:
            checkpoint = read_torch(path)
        except FileError as e:
            raise RunError(
                f"{path} cannot be read as a checkpoint: {e} It may be cut, or hold Python objects, which are never "
                "loaded."
            ) from e
        if not isinstance(checkpoint, dict) or "pytorch-lightning_version" not in checkpoint:
            raise RunError(
                f"{path} is no checkpoint of a training that can go on: it has no step and no optimizer. Name a file "
                "under RUN/checkpoints that ends in .ckpt; official weights start with --model.system.weights, see "
                "'avkit convert'."
            )
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint and the weights beside it.

        Which one is out of date stands in the checkpoint that training went on from, which another may have written.

        Raises:
            RunError: If it is no checkpoint, or a path that leads elsewhere.
        """
        path = Path(path)
        if path.suffix != ".ckpt" or ".." in path.parts or path.is_dir():
            raise RunError(f"A checkpoint asks for {path} to be deleted, which is no checkpoint. Start without it.")
        for file in (path, path.with_suffix(".safetensors")):
            file.unlink(missing_ok=True)


def _weights_alone(path: Path) -> RunError:
    """The error for weights that are named as a checkpoint."""
    checkpoint = path.with_suffix(".ckpt")
    advice = f"Name {checkpoint}, which lies beside it" if checkpoint.exists() else "Name a file that ends in .ckpt"
    return RunError(
        f"{path} holds weights alone, and training cannot go on from them: they have no step and no optimizer. "
        f"{advice}; 'avkit predict RUN' reads the weights."
    )


def _write(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint.

    Raises:
        OSError: With the system's reason, which torch does not tell, if it cannot be written.
    """
    try:
        torch.save(checkpoint, path)
    except RuntimeError as e:
        if "inline_container" not in str(e):
            raise
        with path.open("ab") as file:  # what stopped torch stops this too
            for _ in range(_PROBE_BLOCKS):
                file.write(bytes(1 << 20))
        raise OSError(errno.EIO, f"torch cannot write it: {e}") from e


def training_callbacks(
    run: RunFolder, minutes: float, steps: int, *, main_process: bool, tests: bool
) -> list[Callback]:
    """The callbacks of a fit: checkpoints in every process, history and progress bar in the main one.

    Args:
        run: Folder of the run.
        minutes: Minutes between two saves of the last checkpoint.
        steps: Steps between two saves of the last checkpoint; 0 for saves by the clock only.
        main_process: Whether this is the main process.
        tests: Whether a test follows.
    """
    best = ModelCheckpoint(run.checkpoints, "best", monitor="val/score", mode="max", enable_version_counter=False)
    last = LastCheckpoint(run, minutes, steps)
    if not main_process:
        return [PlateauUpdate(), best, last]
    return [History(run), PlateauUpdate(), best, last, progress(tests=tests)]
