# SPDX-License-Identifier: Apache-2.0
"""Lightning's hardware check and warnings, in avkit's words."""

import logging
import warnings

import torch

#: Warnings of Lightning and torch that do not apply to avkit.
_WARNINGS = (
    ".*does not have many workers.*",
    ".*num_workers.*",
    ".*LeafSpec.*",
    ".*Trying to infer the `batch_size`.*",
    ".*configure_optimizers.*",
    ".*max_epochs.*",
    ".*args parameter is intended.*",
    ".*exists and is not empty.*",
    ".*callbacks used to create the checkpoint.*",
    ".*dirpath has changed.*",
    ".*sync_dist=True.*",
    ".*was called before the ``update`` method.*",
    ".*Grad strides do not match.*",
    ".*find_unused_parameters=True was specified.*",
    ".*in eval mode at the start of training.*",
)


def no_gpu(accelerator: str, option: str = "") -> str | None:
    """Why a GPU that is asked for is not available; None if it is, or if none is asked for.

    Args:
        accelerator: Name of the accelerator, such as `gpu`.
        option: The option by which it is asked for; that of the trainer by default.
    """
    if accelerator not in ("gpu", "cuda") or torch.cuda.is_available():
        return None
    reason = "no NVIDIA driver or device was found"
    if torch.version.cuda is None:
        reason = "this torch is a CPU build"
    option = option or f"--trainer.accelerator {accelerator}"
    return (
        f"{option} asks for a GPU and there is none: {reason} (torch {torch.__version__}). "
        "Leave it out to train on the CPU, or install a CUDA build of torch."
    )


def quiet() -> None:
    """Silence Lightning's advice that does not apply to avkit."""
    for name in (
        "pytorch.utilities.rank_zero",
        "pytorch.trainer.connectors.signal_connector",
        "fabric.utilities.seed",
        "fabric.utilities.distributed",
    ):
        logging.getLogger(f"lightning.{name}").setLevel(logging.WARNING)
    for pattern in _WARNINGS:
        warnings.filterwarnings("ignore", pattern)
