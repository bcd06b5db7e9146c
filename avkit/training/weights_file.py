# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's weights as safetensors beside it, with a mark that tells which checkpoint they are of.

A process may be killed between the writing of both files. The checkpoint is written first and counts; weights that are
of another one are written again when somebody asks for them.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from avkit.errors import FileError, RunError
from avkit.files import WriteError, atomic
from avkit.reading.boundary import file_errors
from avkit.reading.pairs import MARK, is_of, mark_of
from avkit.reading.tensors import read_torch, write_tensors


def write_weights(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write the weights of a checkpoint beside it.

    Args:
        path: The checkpoint, which has been written.
        checkpoint: Its content.
    """
    facts = {"format": "pt", "avkit": json.dumps(checkpoint["avkit"]), MARK: mark_of(path)}
    with atomic(path.with_suffix(".safetensors")) as part:
        write_tensors(part, checkpoint["state_dict"], facts)


def current_weights(checkpoint: Path) -> Path:
    """The file with the weights of a checkpoint; it is written again if it is missing or of another checkpoint.

    Args:
        checkpoint: The checkpoint, or the place where it was: weights may be handed on without one.

    Raises:
        RunError: If neither is whole, or the weights cannot be written.
    """
    path = checkpoint.with_suffix(".safetensors")
    if path.exists() and _is_current(path, checkpoint):
        return path
    content = read_torch(checkpoint)
    if not isinstance(content, dict) or "avkit" not in content or "state_dict" not in content:
        raise RunError(f"{checkpoint} was not written by avkit: it does not name its tasks.")
    try:
        write_weights(checkpoint, content)
    except WriteError as e:
        raise RunError(
            f"{path} is not of {checkpoint.name}: the process was killed between writing one and the other. It cannot "
            f"be written again: {e}"
        ) from e
    return path


def weights_hash(path: Path) -> str:
    """SHA-256 of the tensors of a `.safetensors` file: for each name in order its dtype, shape and values."""
    digest = hashlib.sha256()
    with file_errors(path, "cannot be read as .safetensors"), safe_open(path, "pt") as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name).contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint, as a sentence; empty if it is whole. All of it is read."""
    try:
        read_torch(checkpoint)
    except FileError as e:
        return str(e)
    return ""


def _is_current(weights: Path, checkpoint: Path) -> bool:
    """Whether weights are of a checkpoint; taken for granted of those of earlier versions."""
    with file_errors(weights, "cannot be read as .safetensors"), safe_open(weights, "pt") as file:
        facts = dict(file.metadata() or {})
    return is_of(facts, checkpoint)
