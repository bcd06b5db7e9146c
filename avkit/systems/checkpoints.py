# SPDX-License-Identifier: Apache-2.0
"""Official weights in and out: every key of the authors' model is one of ours, or listed as unused."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from avkit.encoders.state_choice import without_prefixes, without_scalars
from avkit.errors import DataError
from avkit.files import atomic
from avkit.licences import check_licence
from avkit.reading.boundary import file_errors
from avkit.reading.tensors import read_tensors, write_tensors
from avkit.reading.text import parse_json
from avkit.systems.official_files import weights_of, weights_of_another
from avkit.systems.official_keys import check_keys

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
    def recognise_with(cls, state: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Any] | None:
        """The same where `options` choose among several networks that one file holds."""
        return cls.recognise(state)

    def official_name(self, key: str) -> str:
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
        state = without_prefixes(state, weights_of(cls))
        try:
            facts = cls.recognise_with(state, options)
        except KeyError as error:
            raise DataError(f"These weights of {cls.name} have no key {error}; the file is not whole.") from error
        except (IndexError, ValueError) as error:
            raise DataError(
                f"These weights of {cls.name} have tensors of other shapes than theirs ({error})."
            ) from error
        if facts is None:
            raise weights_of_another(cls.name, state)
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
        ours = self.state_dict()
        official = {key: self.official_name(key) for key in ours}
        shapes = self.official_shapes()
        state = without_scalars(without_prefixes(state, weights_of(type(self))), shapes)
        check_keys(self.name, shapes, state)
        self.load_state_dict(
            {
                key: self.from_official_tensor(key, _to_float32(state[theirs]), ours[key])
                for key, theirs in official.items()
            }
        )
        self.unused = {key: _to_float32(state[key]) for key in self.unused_keys()}

    def official_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all tensors of an official checkpoint, by official key."""
        shapes: dict[str, tuple[int, ...]] = {}
        for key, tensor in self.state_dict().items():
            shapes[self.official_name(key)] = tuple(self.to_official_tensor(key, tensor).shape)
        shapes |= self.unused_keys()
        return shapes | {copy: shapes[key] for copy, key in self.official_copies().items()}

    def to_official(self) -> dict[str, Tensor]:
        """The weights as a whole official state dict; unused tensors are zeros where none were loaded."""
        ours = self.state_dict()
        state = {self.official_name(key): self.to_official_tensor(key, x).clone() for key, x in ours.items()}
        state |= {copy: state[key] for copy, key in self.official_copies().items()}
        unused = {key: self.unused.get(key, torch.zeros(shape)) for key, shape in self.unused_keys().items()}
        return state | unused

    def save(self, path: str | Path) -> None:
        """Write weights, unused tensors and the network's arguments as `.safetensors`."""
        tensors = dict(self.state_dict()) | {UNUSED + key: x for key, x in self.unused.items()}
        facts = {"avkit": self.name, "built_with": json.dumps(self.built_with), "source": self.source}
        with atomic(Path(path)) as part:
            write_tensors(part, tensors, facts)

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
        built_with = parse_json(facts["built_with"], f"{path}, built_with", finite=False)
        with file_errors(path, "does not fit its description", "Convert the official file again."):
            network = cls.build(**(built_with | options))
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
    facts, state = read_tensors(path)
    if "made_with" in facts:
        raise DataError(f"{path} was written by an earlier avkit. Convert the official file again.")
    if "built_with" not in facts:
        raise DataError(f"{path} was not written by `avkit convert`. Convert the official file first.")
    check_licence("code", facts.get("avkit", ""))
    return facts, state


def _to_float32(x: Tensor) -> Tensor:
    """Floating-point tensors in float32; counts, such as those of batch norm, as they are."""
    return x.float() if x.is_floating_point() else x
