# SPDX-License-Identifier: Apache-2.0
"""Which encoders of a model are loaded, random, trained or frozen; one that is random and frozen is refused."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import nn

from avkit.encoders.base import Encoder
from avkit.encoders.settings import stored_settings as stored_settings
from avkit.systems.base import System, SystemConfig

#: Digits of a SHA-256 that are kept.
_DIGITS = 16


@dataclass(frozen=True)
class WeightsFacts:
    """Where the weights of an encoder, or of another part that was loaded, come from, and whether they are trained.

    Attributes:
        name: Where it is in the system, such as `visual`.
        module: Its class.
        parameters: Number of its parameters.
        trained: Whether any of them is trained.
        weights: `random`, `hub`, a tag, a path, or `a checkpoint`.
        state: SHA-256 of its weights before training, the first 16 digits.
        file: SHA-256 of the weight file, the first 16 digits; empty where there is none here.
    """

    name: str
    module: str
    parameters: int
    trained: bool
    weights: str
    state: str
    file: str = ""

    @property
    def description(self) -> str:
        """One line for a report."""
        use = "trained" if self.trained else "frozen"
        origin = f"loaded from {self.weights}"
        if self.weights == "random":
            origin = "random at first" if self.trained else "random"
        digest = f"file sha256 {self.file}" if self.file else f"weights sha256 {self.state}"
        return f"{self.module}, {self.parameters:,} parameters, {use}, {origin}, {digest}"


def encoders_in(system: nn.Module) -> dict[str, Encoder]:
    """All encoders of a system and of its heads, by where they are; those within others are left out."""
    found: dict[str, Encoder] = {}
    for name, module in system.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(module, Encoder) and not inside and next(module.parameters(), None) is not None:
            found[name] = module
    return found


#: Whether frozen encoders with random weights are allowed, see `random_encoders`.
_RANDOM_ALLOWED: ContextVar[bool] = ContextVar("random encoders are allowed", default=False)


@contextmanager
def random_encoders(*, allowed: bool) -> Iterator[None]:
    """Whether `check_encoder_weights` allows frozen random encoders within the block: for runs that only try a path."""
    token = _RANDOM_ALLOWED.set(allowed)
    try:
        yield
    finally:
        _RANDOM_ALLOWED.reset(token)


def check_encoder_weights(system: System) -> None:
    """Refuse encoders of pretrained kinds that are frozen with random weights: what they say of a clip stays noise.

    A `small` encoder that a system freezes, as SSUFormer does with that of regions, is named in the report.

    Raises:
        ValueError: If there is one, with the options that give it weights or train it.
    """
    if _RANDOM_ALLOWED.get():
        return
    for name, encoder in encoders_in(system).items():
        if not encoder.from_scratch and encoder.weights_from is None and not _is_trained(encoder):
            raise ValueError(
                f"Encoder {type(encoder).__name__} ({name}) has random weights and is frozen, so it would never learn "
                f"anything. {_advice(name, system.config)}"
            )


def save_settings(system: nn.Module, root: Path) -> None:
    """Write what the encoders of a system need beside their weights into a folder, see `avkit.encoders.settings`."""
    for encoder in encoders_in(system).values():
        encoder.save_settings(root)


def weights_facts(system: System) -> list[WeightsFacts]:
    """Where the weights of all encoders of a system, and of its other loaded parts, come from; before training."""
    parts: dict[str, nn.Module] = dict(encoders_in(system))
    origins = {name: encoder.weights_from or "random" for name, encoder in encoders_in(system).items()}
    for name, origin in system.loaded_parts().items():
        parts[name] = system.get_submodule(name)
        origins[name] = origin
    facts = []
    for name, part in parts.items():
        count = sum(parameter.numel() for parameter in part.parameters())
        digest = file_digest(origins[name])
        facts.append(
            WeightsFacts(name, type(part).__name__, count, _is_trained(part), origins[name], state_digest(part), digest)
        )
    return facts


def state_digest(module: nn.Module) -> str:
    """SHA-256 of a module's tensors and their names, the first 16 digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()[:_DIGITS]


def file_digest(path: str) -> str:
    """SHA-256 of a file, the first 16 digits; empty where there is no such file."""
    if not Path(path).is_file():
        return ""
    with Path(path).open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:_DIGITS]


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _advice(name: str, config: SystemConfig) -> str:
    """The options that give an encoder weights or train it."""
    options = [field.name for field in fields(config)]
    weights = [option for option in options if option.endswith("_weights")]
    own = [option for option in weights if option.removesuffix("_weights") in name]
    if not weights:
        return "Load its weights where it is built, or train it."
    advice = f"Pass --model.system.{' or --model.system.'.join(own or weights)} with 'hub' or a path"
    if "train_encoders" in options:
        advice += ", or --model.system.train_encoders true"
    if "frozen_epochs" in options and "visual" in name:
        advice += ", or --model.system.frozen_epochs 0"
    return f"{advice}."
