# SPDX-License-Identifier: Apache-2.0
"""Official checkpoints in and out: every key of the authors' model is one of ours, or named as dead."""

import inspect
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from avkit.encoders.pretrained import read_tensors
from avkit.errors import DataError
from avkit.files import atomic

#: In front of dead tensors in a file of ours: kept for the way back, never read.
DEAD = "dead."

Network = TypeVar("Network", bound="OfficialNetwork")


class OfficialNetwork(nn.Module):
    """A network that takes the authors' weights and gives them back.

    A subclass says how its keys are called officially, which shapes they have there, what else the official checkpoint
    holds, and with which arguments a checkpoint's network is made.
    """

    #: Name of the system.
    name: ClassVar[str]
    #: Official repository and commit.
    source: ClassVar[str]
    #: What the network was made with, to be made again.
    made_with: dict[str, Any]
    #: Dead tensors of the checkpoint that it was filled from.
    dead: dict[str, Tensor]

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments of the network whose official weights these are; None where they are of no such network."""
        raise NotImplementedError

    @classmethod
    def official_name(cls, key: str) -> str:
        """What the authors call our key."""
        raise NotImplementedError

    @classmethod
    def as_theirs(cls, key: str, tensor: Tensor) -> Tensor:
        """A tensor of ours, by our key, in the shape that it has there."""
        return tensor

    @classmethod
    def as_ours(cls, key: str, tensor: Tensor, like: Tensor) -> Tensor:
        """A tensor of theirs in the shape of ours, `like`."""
        return tensor.reshape(like.shape)

    def official_dead(self) -> dict[str, tuple[int, ...]]:
        """Shapes, by official key, of what their checkpoint holds and their network never trains or reads."""
        return {}

    def untrained(self) -> list[str]:
        """Beginnings of our keys that are read and that no loss reaches: they stay as they began."""
        return []

    def official_copies(self) -> dict[str, str]:
        """Keys of their checkpoint that hold what another key holds, and that key, which counts."""
        return {}

    @classmethod
    def from_official(cls: type[Network], state: Mapping[str, Tensor], **options: Any) -> Network:
        """The network of an official state dict, in float32; sizes are read from the weights.

        Args:
            state: Tensors by official key, with or without `module.` in front.
            options: Arguments that no weight tells, such as `heads`; they go before what is read.

        Raises:
            DataError: If they are the weights of something else, or keys are missing, too many, or of other shapes.
        """
        state = without_wrapper(state)
        try:
            facts = cls.recognise(state)
        except KeyError as error:
            raise DataError(f"These weights of {cls.name} have no key {error}; the file is not whole.") from error
        if facts is None:
            of = recognise(state)
            advice = f"they are those of {of}: avkit convert {of} FILE" if of else "check the file"
            raise DataError(
                f"These are no official weights of {cls.name}: none of its keys are among their {len(state)}, such as "
                f"{', '.join(map(repr, sorted(state)[:3]))}. {advice[0].upper()}{advice[1:]}."
            )
        unknown = sorted(options.keys() - inspect.signature(cls).parameters.keys())
        if unknown:
            raise DataError(
                f"{cls.name} takes no {', '.join(unknown)}; it takes {', '.join(inspect.signature(cls).parameters)}."
            )
        other = [
            f"{key} {facts[key]}, and {value} was given"
            for key, value in options.items()
            if facts.get(key, value) != value
        ]
        if other:
            raise DataError(f"These weights of {cls.name} have {'; '.join(other)}. Leave it out, or use other weights.")
        network = cls(**(facts | options))
        network.load_official(state)
        return network

    def load_official(self, state: Mapping[str, Tensor]) -> None:
        """Fill this network from an official state dict.

        Raises:
            DataError: If keys or shapes differ, with what each is and what to pass.
        """
        state = without_wrapper(state)
        ours = self.state_dict()
        mine = {key: self.official_name(key) for key in ours}
        wanted = {theirs: tuple(self.as_theirs(key, ours[key]).shape) for key, theirs in mine.items()}
        wanted |= self.official_dead()
        wanted |= {copy: wanted[key] for copy, key in self.official_copies().items()}
        _check(self.name, wanted, state)
        self.load_state_dict({k: self.as_ours(k, _wide(state[theirs]), ours[k]) for k, theirs in mine.items()})
        self.dead = {key: _wide(state[key]) for key in self.official_dead()}

    def to_official(self) -> dict[str, Tensor]:
        """The weights as an official state dict, whole: dead tensors are zeros where there never were any."""
        ours, dead = self.state_dict(), getattr(self, "dead", {})
        out = {self.official_name(key): self.as_theirs(key, x).clone() for key, x in ours.items()}
        out |= {copy: out[key] for copy, key in self.official_copies().items()}
        return out | {key: dead.get(key, torch.zeros(shape)) for key, shape in self.official_dead().items()}

    def save(self, path: str | Path) -> None:
        """Write the network as `.safetensors`: weights, dead tensors, and what it was made with."""
        from safetensors.torch import save_file

        tensors = dict(self.state_dict()) | {DEAD + key: x for key, x in getattr(self, "dead", {}).items()}
        facts = {"avkit": self.name, "made_with": json.dumps(self.made_with), "source": self.source}
        with atomic(Path(path)) as part:
            save_file({key: x.contiguous() for key, x in tensors.items()}, part, facts)

    @classmethod
    def load(cls: type[Network], path: str | Path, **options: Any) -> Network:
        """A network that `save` wrote.

        Raises:
            DataError: If the file is of another system, or none of ours.
        """
        facts, state = read_converted(path)
        if facts["avkit"] != cls.name:
            raise DataError(
                f"{path} holds weights of {facts['avkit']}, not of {cls.name}. Use the system of that name, in a run "
                f"--model.system.name {facts['avkit']}."
            )
        network = cls(**(json.loads(facts["made_with"]) | options))
        network.dead = {key.removeprefix(DEAD): x for key, x in state.items() if key.startswith(DEAD)}
        network.load_state_dict({key: x for key, x in state.items() if not key.startswith(DEAD)})
        return network


def read_converted(path: str | Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Facts and tensors of a file that `OfficialNetwork.save` wrote.

    Raises:
        DataError: If it is none.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            facts = dict(file.metadata() or {})
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no dictionary
    except (SafetensorError, FileNotFoundError) as error:
        raise DataError(f"{path} cannot be read as .safetensors ({error}).") from error
    if "made_with" not in facts:
        raise DataError(f"{path} was not written by `avkit convert`. Convert the official file first.")
    return facts, state


def rename(key: str, starts: Mapping[str, str]) -> str:
    """The key with the first beginning that fits replaced."""
    for ours, theirs in starts.items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    return key


def short(value: Any) -> str:
    """A value as text; of long lists how many."""
    return f"({len(value)} of them)" if isinstance(value, list) and len(value) > 8 else str(value)


def without_wrapper(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors without the `module.` of a network trained on several GPUs."""
    if state and all(key.startswith("module.") for key in state):
        return {key.removeprefix("module."): x for key, x in state.items()}
    return dict(state)


def read_official(path: str | Path, raw: bool = False) -> tuple[dict[str, Tensor], list[str]]:
    """The weights of an official checkpoint file, and what a reader should know about them.

    Where the file has averaged weights too (`state_dict_ema`), those, unless `raw`: the authors test with them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not one of weights alone; nothing in it is run.
    """
    wrappers = ("state_dict_ema", "state_dict", "model_state_dict", "model")
    state, key = read_tensors(path, wrappers[1:] if raw else wrappers)
    notes = [f"weights under {key!r}"] if key else []
    if any(x.dtype in (torch.float16, torch.bfloat16) for x in state.values()):
        notes.append("half precision, made float32")
    if state and all(name.startswith("module.") for name in state):
        notes.append("'module.' taken off every key")
    return without_wrapper(state), notes


def recognise(state: Mapping[str, Tensor]) -> str | None:
    """The system whose official weights these are."""
    from avkit.systems import NETWORKS, find_network

    for name in NETWORKS:
        with suppress(KeyError):  # only a part of the system's weights
            if find_network(name).recognise(state) is not None:
                return name
    return None


def _wide(x: Tensor) -> Tensor:
    """Numbers in float32; counts, such as those of batch norm, as they are."""
    return x.float() if x.is_floating_point() else x


def _check(name: str, wanted: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor]) -> None:
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {wanted[key]}"
        for key in wanted
        if key in state and tuple(state[key].shape) != wanted[key]
    ]
    parts = [
        f"{len(found)} {what} ({', '.join(found[:3])}{', ...' if len(found) > 3 else ''})"
        for found, what in ((missing, "missing"), (extra, "unknown"), (shapes, "of another shape"))
        if found
    ]
    if parts:
        raise DataError(
            f"These weights do not fit {name}, which has {len(wanted)} keys: {'; '.join(parts)}. Sizes are read from "
            "the weights unless they are given; pass those that they were trained with."
        )
