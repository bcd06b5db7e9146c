# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's weights as safetensors beside it, with a mark that tells which checkpoint they are of.

A process may be killed between the writing of both files. The checkpoint is written first and counts; weights that are
of another one are written again when somebody asks for them.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from avkit.errors import FileError, RunError
from avkit.files import WriteError, atomic
from avkit.reading.boundary import file_errors
from avkit.reading.checksums import crc32
from avkit.reading.tensors import read_torch, write_tensors

#: Name among the facts of the weights under which the mark of their checkpoint stands.
_MARK = "checkpoint"


def write_weights(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write the weights of a checkpoint beside it.

    Args:
        path: The checkpoint, which has been written.
        checkpoint: Its content.
    """
    facts = {"format": "pt", "avkit": json.dumps(checkpoint["avkit"]), _MARK: _mark_of(path)}
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
    mark = _mark_of(checkpoint)
    if path.exists() and (not mark or _stated_mark(path) in ("", mark)):
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


def damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint, as a sentence; empty if it is whole. All of it is read."""
    try:
        read_torch(checkpoint)
    except FileError as e:
        return str(e)
    return ""


def _mark_of(checkpoint: Path) -> str:
    """A checksum of a checkpoint's content, made of those in its directory; empty if it is missing or cut."""
    if not zipfile.is_zipfile(checkpoint):
        return ""
    with file_errors(checkpoint, "cannot be read as a checkpoint"), zipfile.ZipFile(checkpoint) as archive:
        parts = [f"{_inner_name(info)} {info.file_size} {info.CRC}\n".encode() for info in archive.infolist()]
    return f"{crc32(*parts):08x}"


def _inner_name(info: zipfile.ZipInfo) -> str:
    """A part's name without the first folder, which torch names after the file."""
    return info.filename.partition("/")[2]


def _stated_mark(weights: Path) -> str:
    """The mark of the checkpoint that weights are of; empty for those of earlier versions."""
    with file_errors(weights, "cannot be read as .safetensors"), safe_open(weights, "pt") as file:
        return str((file.metadata() or {}).get(_MARK, ""))
