# SPDX-License-Identifier: Apache-2.0
"""Which of the weights that a file holds are meant, and under which prefix their keys stand."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from avkit.encoders.weight_files import read_weight_file, stored_states

#: Says whether tensors by key are those of the network that is to be filled.
Fits = Callable[[Mapping[str, Tensor]], bool]

#: Names that wrappers of torch put into keys, wherever they stand.
_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
#: What keys of averaged weights are called.
_AVERAGED = re.compile(r"(^|[._])(ema|averaged?|swa|shadow|polyak)([._]|$)", re.IGNORECASE)
#: Prefixes taken off one after the other.
_DEPTH = 4


@dataclass(frozen=True)
class ChosenState:
    """Weights out of a file.

    Attributes:
        tensors: Tensors by key, without prefixes of wrappers.
        key: Keys in the file that lead to them, joined by dots; empty where they are the file's content.
        prefix: What was taken off every key, such as `module.`.
        others: Names of other weights in the file that fit too.
        notes: Sentences for the user about what was chosen, taken off and left out.
    """

    tensors: dict[str, Tensor]
    key: str = ""
    prefix: str = ""
    others: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Key and prefix, as a user names the weights."""
        return ".".join(part for part in (self.key, self.prefix.rstrip(".")) if part)

    @property
    def averaged(self) -> bool:
        """Whether they are averaged over training steps."""
        return _AVERAGED.search(self.name) is not None


def choose_state(
    path: str | Path, fits: Fits | None = None, *, raw: bool = False, key: str | None = None
) -> ChosenState:
    """The weights of a file that fit a network.

    Keys of a file that hold other things are passed over, and prefixes of wrappers are taken off: `module.` of several
    GPUs, `_orig_mod.` of compiled networks, and whatever stands before the keys that fit. Where averaged weights fit
    too they are taken, since authors test with them, and a note says so.

    Args:
        path: The file, see `read_weight_file`.
        fits: Says whether weights are those of the network; None for whatever the file holds.
        raw: Take the last weights instead of averaged ones.
        key: Keys that lead to the weights, joined by dots, where the file holds several.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no weights, or several that may be meant.
    """
    path = Path(path)
    states = stored_states(read_weight_file(path))
    if key is not None:
        states = _under(states, key, path)
    candidates: list[ChosenState] = []
    for name, tensors in states.items():
        candidates += _fitting(ChosenState(_without_wrappers(tensors), name), fits)
    if not candidates:
        candidates = [ChosenState(_without_wrappers(tensors), name) for name, tensors in states.items()]
    if not candidates:
        raise ValueError(
            f"{path} is not a state dict: expected tensors by name. Save it with torch.save(m.state_dict())."
        )
    chosen = _one_of(candidates, path, raw=raw)
    others = [candidate.name for candidate in candidates if candidate.averaged != chosen.averaged]
    notes = _notes(chosen, states[chosen.key], others)
    return ChosenState(_without_module(chosen.tensors), chosen.key, chosen.prefix, others, notes)


def without_prefixes(tensors: Mapping[str, Tensor], fits: Fits) -> dict[str, Tensor]:
    """Tensors by the keys of the network that they fit, without wrappers and prefixes; as they are if none fit."""
    state = ChosenState(_without_wrappers(tensors))
    fitting = _fitting(state, fits)
    return _without_module(fitting[0].tensors if len(fitting) == 1 else state.tensors)


def without_scalars(tensors: Mapping[str, Tensor], keys: Mapping[str, object]) -> dict[str, Tensor]:
    """Tensors without single numbers, such as the number of steps, that lie beside weights and are none of `keys`."""
    return {key: x for key, x in tensors.items() if x.ndim or "." in key or key in keys}


def _under(states: Mapping[str, dict[str, Tensor]], key: str, path: Path) -> dict[str, dict[str, Tensor]]:
    """The weights under a key that the user named."""
    if key in states:
        return {key: states[key]}
    raise ValueError(
        f"{path} has no weights under {key!r}. It has {', '.join(repr(name) for name in states) or 'none'}."
    )


def _fitting(state: ChosenState, fits: Fits | None) -> list[ChosenState]:
    """The weights themselves if they fit, else those below the shortest prefixes whose keys fit."""
    if fits is None:
        return [state]
    layer = [state]
    for _ in range(_DEPTH):
        fitting = [candidate for candidate in layer if fits(_without_module(candidate.tensors))]
        if fitting:
            return fitting
        layer = [part for candidate in layer for part in _below(candidate)]
    return []


def _below(state: ChosenState) -> list[ChosenState]:
    """The parts of weights below each first name of their keys."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.tensors.items():
        first, dot, rest = name.partition(".")
        if dot:
            parts.setdefault(f"{first}.", {})[rest] = tensor
    return [ChosenState(tensors, state.key, state.prefix + prefix) for prefix, tensors in parts.items()]


def _without_wrappers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by keys without the names of torch's wrappers."""
    renamed: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        renamed[".".join(name for name in key.split(".") if name not in _WRAPPERS)] = tensor
    return renamed


def _without_module(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors without the `module.` of a network trained on several GPUs, however often it stands before all keys."""
    result = dict(tensors)
    while result and all(key.startswith("module.") for key in result):
        result = {key.removeprefix("module."): tensor for key, tensor in result.items()}
    return result


def _one_of(candidates: list[ChosenState], path: Path, *, raw: bool) -> ChosenState:
    averaged = [candidate for candidate in candidates if candidate.averaged]
    last = [candidate for candidate in candidates if not candidate.averaged]
    preferred = (last or averaged) if raw else (averaged or last)
    if len(preferred) == 1:
        return preferred[0]
    names = ", ".join(repr(candidate.name) for candidate in preferred)
    raise ValueError(
        f"{path} holds several sets of weights that may be meant: {names}. Name one with --key in 'avkit convert', or "
        "save the one that you want alone."
    )


def _notes(chosen: ChosenState, stored: Mapping[str, Tensor], others: list[str]) -> list[str]:
    notes = [f"weights under {chosen.key!r}"] if chosen.key else []
    if others and chosen.averaged:
        notes.append(f"averaged weights, {chosen.name!r}; the last ones, {', '.join(map(repr, others))}, with --raw")
    elif others:
        notes.append(f"the last weights, {chosen.name!r}, and not the averaged ones, {', '.join(map(repr, others))}")
    for wrapper in sorted(_WRAPPERS):
        if any(wrapper in key.split(".") for key in stored):
            notes.append(f"{wrapper + '.'!r} taken out of keys")
    if chosen.prefix:
        beside = len(stored) - len(chosen.tensors)
        notes.append(
            f"{chosen.prefix!r} taken off every key" + (f", {beside} other tensors left out" if beside else "")
        )
    if _without_module(chosen.tensors).keys() != chosen.tensors.keys():
        notes.append("'module.' taken off every key")
    return notes
