# SPDX-License-Identifier: Apache-2.0
"""Official weights in and out: every key of the authors' model is one of ours, or listed as unused."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from avkit.encoders.pretrained import read_tensors
from avkit.errors import DataError
from avkit.files import atomic

#: Prefix of unused official tensors in a converted file: kept for the way back, never read.
UNUSED = "unused."

Network = TypeVar("Network", bound="OfficialNetwork")


@dataclass
class NoOptions:
    """Options of a network that has none."""


class OfficialNetwork(nn.Module):
    """A paper's network, which takes the authors' weights and gives them back.

    A subclass is built with a record of options, of its class `Options` or a subclass of that, and with sizes that the
    data or the weights decide, by keyword. It says what the authors call its keys and what else their files hold.

    Args:
        options: Options, each with its default in `Options`.
        sizes: Widths of features, numbers of classes and the like, by name.
    """

    #: Name of the system.
    name: ClassVar[str]
    #: Official repository and commit.
    source: ClassVar[str]
    #: Dataclass of the network's options.
    Options: ClassVar[type[Any]] = NoOptions
    #: Published values of arguments that no weight tells, where they differ from the defaults.
    published: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, options: Any, **sizes: Any) -> None:
        super().__init__()
        #: All arguments by name, to build the network again.
        self.built_with: dict[str, Any] = {**sizes, **own_options(options, type(self).Options)}
        #: Unused tensors of the checkpoint that it was filled from.
        self.unused: dict[str, Tensor] = {}

    @classmethod
    def build(cls: type[Network], **arguments: Any) -> Network:
        """A network of options and sizes by name.

        Raises:
            DataError: If an argument is unknown.
        """
        options = {field.name for field in fields(cls.Options)}
        given = {name: value for name, value in arguments.items() if name in options}
        sizes = {name: value for name, value in arguments.items() if name not in options}
        unknown = sorted(sizes.keys() - set(cls.sizes()))
        if unknown:
            accepted = [*cls.sizes(), *sorted(options)]
            raise DataError(f"{cls.name} takes no {', '.join(unknown)}; it takes {', '.join(accepted)}.")
        return cls(cls.Options(**given), **sizes)

    @classmethod
    def sizes(cls) -> list[str]:
        """Names of the sizes that the network takes beside its options."""
        from inspect import signature

        parameters = list(signature(cls.__init__).parameters)
        return parameters[2:]

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments of the network whose official weights these are; None if they are of another network."""
        raise NotImplementedError

    @classmethod
    def official_name(cls, key: str) -> str:
        """The authors' name of our key."""
        raise NotImplementedError

    @classmethod
    def to_official_tensor(cls, key: str, tensor: Tensor) -> Tensor:
        """Our tensor, by our key, in the authors' shape."""
        return tensor

    @classmethod
    def from_official_tensor(cls, key: str, tensor: Tensor, like: Tensor) -> Tensor:
        """The authors' tensor in the shape of ours, `like`."""
        return tensor.reshape(like.shape)

    def unused_keys(self) -> dict[str, tuple[int, ...]]:
        """Shapes, by official key, of tensors that the authors save and their network never reads."""
        return {}

    def untrained(self) -> list[str]:
        """Prefixes of our keys that are read and that no loss reaches: they keep their first values."""
        return []

    def official_copies(self) -> dict[str, str]:
        """Official keys that repeat another key's tensor, and that other key, which counts."""
        return {}

    @classmethod
    def from_official(cls: type[Network], state: Mapping[str, Tensor], **options: Any) -> Network:
        """The network of an official state dict, in float32; sizes are read from the weights.

        Args:
            state: Tensors by official key, with or without `module.` in front.
            options: Arguments that no weight tells, such as `heads`.

        Raises:
            DataError: If they are the weights of something else, an option contradicts them, or keys are missing, too
                many, or of other shapes.
        """
        state = without_wrapper(state)
        try:
            facts = cls.recognise(state)
        except KeyError as error:
            raise DataError(f"These weights of {cls.name} have no key {error}; the file is not whole.") from error
        if facts is None:
            raise _not_of(cls.name, state)
        differing = [
            f"{key} {facts[key]}, and {value} was given"
            for key, value in options.items()
            if facts.get(key, value) != value
        ]
        if differing:
            raise DataError(
                f"These weights of {cls.name} have {'; '.join(differing)}. Leave it out, or use other weights."
            )
        network = cls.build(**({**cls.published} | facts | options))
        network.load_official(state)
        return network

    def load_official(self, state: Mapping[str, Tensor]) -> None:
        """Fill this network from an official state dict.

        Raises:
            DataError: If keys or shapes differ, with what each is and what to pass.
        """
        state = without_wrapper(state)
        ours = self.state_dict()
        official = {key: self.official_name(key) for key in ours}
        shapes = {theirs: tuple(self.to_official_tensor(key, ours[key]).shape) for key, theirs in official.items()}
        shapes |= self.unused_keys()
        shapes |= {copy: shapes[key] for copy, key in self.official_copies().items()}
        _check_keys(self.name, shapes, state)
        self.load_state_dict(
            {
                key: self.from_official_tensor(key, _to_float32(state[theirs]), ours[key])
                for key, theirs in official.items()
            }
        )
        self.unused = {key: _to_float32(state[key]) for key in self.unused_keys()}

    def to_official(self) -> dict[str, Tensor]:
        """The weights as a whole official state dict; unused tensors are zeros where none were loaded."""
        ours = self.state_dict()
        state = {self.official_name(key): self.to_official_tensor(key, x).clone() for key, x in ours.items()}
        state |= {copy: state[key] for copy, key in self.official_copies().items()}
        unused = {key: self.unused.get(key, torch.zeros(shape)) for key, shape in self.unused_keys().items()}
        return state | unused

    def save(self, path: str | Path) -> None:
        """Write weights, unused tensors and the network's arguments as `.safetensors`."""
        from safetensors.torch import save_file

        tensors = dict(self.state_dict()) | {UNUSED + key: x for key, x in self.unused.items()}
        facts = {"avkit": self.name, "built_with": json.dumps(self.built_with), "source": self.source}
        with atomic(Path(path)) as part:
            save_file({key: x.contiguous() for key, x in tensors.items()}, part, facts)

    @classmethod
    def load(cls: type[Network], path: str | Path, **options: Any) -> Network:
        """A network that `save` wrote.

        Raises:
            DataError: If the file is of another system, or not written by `save`.
        """
        facts, state = read_converted(path)
        if facts["avkit"] != cls.name:
            raise DataError(
                f"{path} holds weights of {facts['avkit']}, not of {cls.name}. Use the system of that name, in a run "
                f"--model.system.name {facts['avkit']}."
            )
        network = cls.build(**(json.loads(facts["built_with"]) | options))
        network.unused = {key.removeprefix(UNUSED): x for key, x in state.items() if key.startswith(UNUSED)}
        network.load_state_dict({key: x for key, x in state.items() if not key.startswith(UNUSED)})
        return network


def own_options(options: Any, cls: type[Any]) -> dict[str, Any]:
    """Those fields of a record that a base class of it declares, by name."""
    values = asdict(options)
    return {field.name: values[field.name] for field in fields(cls)}


def read_converted(path: str | Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Facts and tensors of a file that `OfficialNetwork.save` wrote.

    Raises:
        DataError: If another program, or an earlier avkit, wrote it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            facts = dict(file.metadata() or {})
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no dictionary
    except (SafetensorError, FileNotFoundError) as error:
        raise DataError(f"{path} cannot be read as .safetensors ({error}).") from error
    if "made_with" in facts:
        raise DataError(f"{path} was written by an earlier avkit. Convert the official file again.")
    if "built_with" not in facts:
        raise DataError(f"{path} was not written by `avkit convert`. Convert the official file first.")
    return facts, state


def rename(key: str, prefixes: Mapping[str, str]) -> str:
    """The key with the first matching prefix replaced."""
    for ours, theirs in prefixes.items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    return key


def count_numbers(state: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbers, counted from 0, the first group of a pattern has among the keys."""
    matches = [re.match(pattern, key) for key in state]
    return 1 + max((int(match[1]) for match in matches if match), default=-1)


def short(value: Any) -> str:
    """A value as text; for long lists their length."""
    if isinstance(value, list) and len(value) > 8:
        return f"({len(value)} of them)"
    return str(value)


def without_wrapper(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors without the `module.` of a network trained on several GPUs."""
    if state and all(key.startswith("module.") for key in state):
        return {key.removeprefix("module."): x for key, x in state.items()}
    return dict(state)


def read_official(path: str | Path, raw: bool = False) -> tuple[dict[str, Tensor], list[str]]:
    """The weights of an official checkpoint file, and notes about them for the user.

    Where the file has averaged weights too (`state_dict_ema`), those, unless `raw`: the authors test with them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds more than weights; nothing in it is run.
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


def _not_of(name: str, state: Mapping[str, Tensor]) -> DataError:
    """The error for weights of something else."""
    other = recognise(state)
    advice = f"They are those of {other}: avkit convert {other} FILE" if other else "Check the file"
    examples = ", ".join(map(repr, sorted(state)[:3]))
    return DataError(
        f"These are no official weights of {name}: none of its keys are among their {len(state)}, such as "
        f"{examples}. {advice}."
    )


def _to_float32(x: Tensor) -> Tensor:
    """Floating-point tensors in float32; counts, such as those of batch norm, as they are."""
    return x.float() if x.is_floating_point() else x


def _check_keys(name: str, shapes: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor]) -> None:
    """Raise DataError unless a state dict has exactly the keys of these shapes."""
    common = [key for key in shapes if key in state]
    wrong = [
        f"{key} {tuple(state[key].shape)} instead of {shapes[key]}"
        for key in common
        if tuple(state[key].shape) != shapes[key]
    ]
    parts = [
        *_list_some(sorted(shapes.keys() - state.keys()), "missing"),
        *_list_some(sorted(state.keys() - shapes.keys()), "unknown"),
        *_list_some(wrong, "of another shape"),
    ]
    if parts:
        raise DataError(
            f"These weights do not fit {name}, which has {len(shapes)} keys: {'; '.join(parts)}. Sizes are read from "
            "the weights unless they are given; pass those that they were trained with."
        )


def _list_some(keys: Sequence[str], what: str) -> list[str]:
    """`["3 missing (a, b, c)"]`, or nothing where there are none."""
    if not keys:
        return []
    more = ", ..." if len(keys) > 3 else ""
    return [f"{len(keys)} {what} ({', '.join(keys[:3])}{more})"]
