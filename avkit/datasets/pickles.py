# SPDX-License-Identifier: Apache-2.0
"""Log-mel patches as AVSBench publishes them: pickles of one tensor, read so that a pickle can run no other code."""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avkit.errors import DataError
from avkit.features.base import FeatureFacts, missing_clip_error
from avkit.reading.boundary import reason_of
from avkit.reading.copies import local_copy


def _load_storage(data: bytes) -> Any:
    """The numbers of a tensor, which torch pickles as a file of its own; only tensors are allowed in it."""
    return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")


def _allowed_calls() -> dict[tuple[str, str], Callable[..., Any]]:
    """What the pickle of a plain array or tensor may call, by module and name."""
    from numpy._core import multiarray

    allowed: dict[tuple[str, str], Callable[..., Any]] = {
        ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
        ("torch.storage", "_load_from_bytes"): _load_storage,
        ("collections", "OrderedDict"): OrderedDict,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed[module, "_reconstruct"] = multiarray._reconstruct
        allowed[module, "scalar"] = multiarray.scalar
    return allowed


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _allowed_calls()[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}") from None


def read_log_mel(path: Path) -> NDArray[np.float32]:
    """The one array of a pickle, float32; anything that is not a plain array or tensor is refused.

    Raises:
        DataError: If the file is damaged, holds something else, or would call anything.
    """
    try:
        with local_copy(path) as here, here.open("rb") as file:
            value = _PlainUnpickler(file).load()
        array = np.asarray(value.detach() if isinstance(value, torch.Tensor) else value)
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(
            f"{path} is refused: {reason_of(error)}. Accepted are pickles of one array or tensor of "
            "numbers; others can run code. Delete it to read the sound file instead."
        ) from error
    if array.dtype.kind != "f" or not array.size:
        raise DataError(f"{path} is refused: it holds {array.dtype} {array.shape} and not an array of numbers.")
    return array.astype(np.float32)


class LogMelFiles:
    """Log-mel patches of clips as features, (T, 96 * 64), each patch of 0.96 s.

    Args:
        root: Folder of the paths.
        files: Path of each clip's pickle, by the clip's id.
    """

    def __init__(self, root: Path, files: dict[str, str]) -> None:
        self.path = root
        self.files = files
        self.facts = FeatureFacts("log_mel", 1.0, 0.96)

    @property
    def names(self) -> Collection[str]:
        """Clips that have a file."""
        return self.files.keys()

    def read(self, name: str) -> NDArray[np.float32]:
        """Patches of a clip, (T, 6144)."""
        if name not in self.files:
            raise missing_clip_error(self.path, name, self.names)
        patches = read_log_mel(self.path / self.files[name])
        return patches.reshape(len(patches), -1)
