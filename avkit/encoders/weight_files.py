# SPDX-License-Identifier: Apache-2.0
"""Weight files of any program: read without running code in them, and the weights found wherever they lie."""

import io
import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from avkit.errors import AvkitError
from avkit.reading.tensors import read_tensors, read_torch

#: Bytes that a file of `torch.save` begins with since torch 1.6: it is a zip archive.
_ZIP = b"PK\x03\x04"
#: Pickles that an older file of `torch.save` begins with: number, protocol, system, and the content.
_OLD_PICKLES = 4


class UnreadableWeights(ValueError):
    """A weight file cannot be read without running code in it, or is damaged."""


class _Placeholder:
    """What stands for an object of a class that is not loaded: its attributes as they were stored, and no code.

    Calling it makes an ordered dictionary, the one container with attributes that torch's safe reader fills.
    """

    def __new__(cls, *arguments: object) -> Any:
        """A dictionary with attributes; `arguments` are dropped."""
        return OrderedDict()


def read_weight_file(path: Path) -> object:
    """The content of a weight file on the CPU: tensors, numbers, texts and containers of them.

    Files of `torch.save` are read by torch's reader for weights alone. Where they hold objects of other classes too,
    such as the options of a training script or a whole network, these become dictionaries with the attributes that
    were stored; nothing of the file is imported or called.

    Args:
        path: `.safetensors`, or a file of `torch.save`.

    Raises:
        FileNotFoundError: If there is no such file.
        UnreadableWeights: If it cannot be read without running code, or is not whole.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"Weight file {path} does not exist. Check the path, or pass 'hub' to download weights."
        )
    if path.suffix == ".safetensors":
        try:
            return read_tensors(path)[1]
        except AvkitError as error:
            raise UnreadableWeights(str(error)) from error
    try:
        return read_torch(path)
    except Exception as first:  # torch raises UnpicklingError, RuntimeError, EOFError and others for bad files
        try:
            return _load_with_placeholders(path)
        except Exception:
            raise UnreadableWeights(
                f"{path} cannot be read as weights. Accepted are whole .safetensors and files "
                "of torch.save that hold weights, with or without plain values beside them. Other pickles are refused "
                "because loading them can run code; a file that was cut short has to be fetched again."
            ) from first


def _load_with_placeholders(path: Path) -> object:
    """The content with a placeholder for each class that torch's reader does not know."""
    with torch.serialization.safe_globals([(_Placeholder, name) for name in _class_names(path)]):
        return read_torch(path)


def _class_names(path: Path) -> set[str]:
    """Classes and functions that the pickles of a file name, read from their opcodes, by their names in Python 3."""
    names: set[str] = set()
    with path.open("rb") as file:
        for stream in _pickles(file):
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    module, _, name = str(argument).partition(" ")
                    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
                    names.add(f"{module}.{name}")
    return names


def _pickles(file: IO[bytes]) -> list[IO[bytes]]:
    """A stream for each pickle of a file; those of an older file follow each other in one stream."""
    start = file.read(len(_ZIP))
    file.seek(0)
    if start != _ZIP:
        return [file] * _OLD_PICKLES
    with zipfile.ZipFile(file) as archive:
        return [io.BytesIO(archive.read(name)) for name in archive.namelist() if name.endswith("/data.pkl")]


def stored_states(content: object) -> dict[str, dict[str, Tensor]]:
    """All sets of weights in the content of a weight file, by the keys that lead to them.

    >>> stored_states({"epoch": 3, "model": {"w": torch.ones(1)}})
    {'model': {'w': tensor([1.])}}

    A network that was saved whole counts as its weights. Optimizers and the like are left out.

    Args:
        content: What `read_weight_file` returns.

    Returns:
        Tensors by name, by keys joined by dots; the empty key stands for the content itself.
    """
    states: dict[str, dict[str, Tensor]] = {}
    _collect(content, "", states, _DEPTH)
    return states


#: How keys begin under which training scripts store other things than weights.
_NO_WEIGHTS = (
    "optim",
    "sched",
    "lr_",
    "scaler",
    "amp",
    "rng",
    "random",
    "callbacks",
    "loops",
    "hyper",
    "hparams",
    "args",
)
#: How deep weights may lie in a file.
_DEPTH = 5
#: How deep the modules of a network may lie in each other.
_NETWORK_DEPTH = 40


def _collect(value: object, key: str, states: dict[str, dict[str, Tensor]], depth: int) -> None:
    if not isinstance(value, Mapping) or not depth:
        return
    network = _network_state(value, _NETWORK_DEPTH)
    if network:
        states[key] = network
        return
    tensors: dict[str, Tensor] = {}
    for name, entry in value.items():
        if isinstance(name, str) and isinstance(entry, Tensor):
            tensors[name] = entry
    if tensors:
        states[key] = tensors
    for name, entry in value.items():
        if isinstance(name, str) and not name.lower().startswith(_NO_WEIGHTS):
            _collect(entry, f"{key}.{name}" if key else name, states, depth - 1)


def _network_state(value: Mapping[Any, object], depth: int) -> dict[str, Tensor]:
    """Parameters and buffers of a network that was saved whole; empty if it is no network."""
    attributes = vars(value) if isinstance(value, OrderedDict) else {}
    children = attributes.get("_modules")
    if not isinstance(children, Mapping) or "_parameters" not in attributes or not depth:
        return {}
    state: dict[str, Tensor] = {}
    not_saved = attributes.get("_non_persistent_buffers_set") or ()
    for group in ("_parameters", "_buffers"):
        entries = attributes.get(group)
        for name, tensor in entries.items() if isinstance(entries, Mapping) else ():
            if isinstance(tensor, Tensor) and name not in not_saved:
                state[name] = tensor.data if isinstance(tensor, nn.Parameter) else tensor
    for name, child in children.items():
        if isinstance(child, Mapping):
            for key, tensor in _network_state(child, depth - 1).items():
                state[f"{name}.{key}"] = tensor
    return state
