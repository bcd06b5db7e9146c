# SPDX-License-Identifier: Apache-2.0
"""What all pretrained encoders share: reading weight files safely, and preparing pixels."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Value of `pretrained` that means the weights a name is known for, to be downloaded.
HUB = "hub"

#: Keys under which training scripts store the weights beside other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a weight file by key, on the CPU.

    Args:
        path: `.safetensors`, or a state dict saved by `torch.save`, alone or under `state_dict`, `model_state_dict` or
            `model`; a `module.` in front of every key is taken off. Files that hold other objects are refused.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not one of weights.
    """
    state, _ = read_tensors(path)
    if all(k.startswith("module.") for k in state):
        state = {k.removeprefix("module."): v for k, v in state.items()}
    return state


def read_tensors(path: str | Path, wrappers: Sequence[str] = _WRAPPERS) -> tuple[dict[str, Tensor], str]:
    """The tensors of a weight file as they are called there, and the key that they were under, empty for none.

    Args:
        path: As `read_weights`.
        wrappers: Keys under which weights may lie beside other things; the first that is there counts.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not one of weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Weight file {path} does not exist. Check the path, or pass {HUB!r} to download weights."
        )
    found = _read(path)
    found = found if isinstance(found, Mapping) else {}
    wrapper = next((key for key in wrappers if isinstance(found.get(key), Mapping)), "")
    state = found[wrapper] if wrapper else found
    if not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(
            f"{path} is not a state dict: expected tensors by name. Save it with torch.save(m.state_dict())."
        )
    return dict(state), wrapper


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Fill a module from a weight file; every key and shape must fit.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not one of weights, or keys or shapes differ, with counts and examples.
    """
    state = read_weights(path)
    check_weights(module.state_dict(), state, path)
    module.load_state_dict(state)


def check_weights(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], path: str | Path, ignore: tuple[str, ...] = ()
) -> None:
    """Refuse weights that do not fit.

    Args:
        wanted: The module's own state dict, on any device.
        state: What the file holds.
        path: The file, for the error's text.
        ignore: Beginnings of keys that the file may hold in excess, such as a classifier's.

    Raises:
        ValueError: If keys or shapes differ, with counts and examples.
    """
    missing = wanted.keys() - state.keys()
    extra = [k for k in state.keys() - wanted.keys() if not (ignore and k.startswith(ignore))]
    shapes = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in wanted.keys() & state.keys()
        if state[k].shape != wanted[k].shape
    ]
    faults = [_count(missing, "missing"), _count(extra, "unexpected"), _count(shapes, "of another shape")]
    if any(faults):
        raise ValueError(
            f"Weights in {path} do not fit this encoder: {'; '.join(filter(None, faults))}. "
            f"The encoder has {len(wanted)} keys, the file {len(state)}. Check that its name is that of the encoder."
        )


class Pixels(nn.Module):
    """Pictures as a pretrained network wants them: resized to its size, and normalised by its mean and deviation.

    Args:
        mean: Three means of red, green, blue in [0, 1].
        std: Three standard deviations.
        size: Height and width to resize to (bicubic, antialiased), or None to keep the size.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Iterable[float], std: Iterable[float], size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.tensor(list(mean))[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(list(std))[:, None, None], persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Prepare pictures (N, 3, H, W), uint8 or float in [0, 1]; float comes out."""
        x = frames.float() / 255 if frames.dtype == torch.uint8 else frames
        if self.size is not None and tuple(x.shape[-2:]) != self.size:
            # bicubic overshoots at edges; pixels stay pixels
            x = F.interpolate(x, self.size, mode="bicubic", antialias=True).clamp(0, 1)
        return (x - self.mean.to(x)) / self.std.to(x)


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a whole safetensors file ({error}). Download it again.") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, EOFError and others for bad files
        raise ValueError(
            f"{path} cannot be read as weights ({type(error).__name__}). Accepted are whole .safetensors and state "
            "dicts that hold tensors only. Other pickles are refused because loading them can run code; a file that "
            "was cut short has to be fetched again."
        ) from error


def _count(names: Collection[str], what: str) -> str:
    if not names:
        return ""
    shown = sorted(names)[:3]
    return f"{len(names)} {what} ({', '.join(shown)}{', ...' if len(names) > len(shown) else ''})"
