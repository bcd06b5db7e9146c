# SPDX-License-Identifier: Apache-2.0
"""Reading of weight files without running code in them, and preprocessing of images for pretrained networks."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Value of `pretrained` that stands for the published weights of an encoder, which are downloaded.
HUB = "hub"

#: Keys under which training scripts store weights in a file that holds other things too.
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a weight file by key, on the CPU.

    Args:
        path: `.safetensors`, or a state dict saved by `torch.save`, alone or under `state_dict`, `model_state_dict` or
            `model`; a `module.` in front of all keys is removed. Files that hold other objects are refused.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no weights.
    """
    state, _ = read_tensors(path)
    if all(key.startswith("module.") for key in state):
        return {key.removeprefix("module."): tensor for key, tensor in state.items()}
    return state


def read_tensors(path: str | Path, wrappers: Sequence[str] = _WRAPPERS) -> tuple[dict[str, Tensor], str]:
    """Read the tensors of a weight file under the keys of the file.

    Args:
        path: As in `read_weights`.
        wrappers: Keys under which weights may be stored; the first one present is used.

    Returns:
        The tensors, and the key that they were stored under, empty for none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Weight file {path} does not exist. Check the path, or pass {HUB!r} to download weights."
        )
    content = _read(path)
    for wrapper in wrappers:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            return _check_tensors(content[wrapper], path), wrapper
    return _check_tensors(content, path), ""


def _check_tensors(content: object, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and content and all(isinstance(value, Tensor) for value in content.values()):
        return dict(content)
    raise ValueError(f"{path} is not a state dict: expected tensors by name. Save it with torch.save(m.state_dict()).")


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Load a weight file into a module; every key and shape must fit.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no weights, or keys or shapes differ, with counts and examples.
    """
    state = read_weights(path)
    check_weights(module.state_dict(), state, path)
    module.load_state_dict(state)


def check_weights(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: str | Path, ignore: tuple[str, ...] = ()
) -> None:
    """Raise an error if weights do not fit.

    Args:
        own: The module's own state dict, on any device.
        state: Tensors of the file.
        path: The file, for the error's text.
        ignore: Prefixes of keys that the file may hold in addition, such as a classifier's.

    Raises:
        ValueError: If keys or shapes differ, with counts and examples.
    """
    missing = own.keys() - state.keys()
    unexpected = [key for key in state.keys() - own.keys() if not (ignore and key.startswith(ignore))]
    reshaped = []
    for key in own.keys() & state.keys():
        if state[key].shape != own[key].shape:
            reshaped.append(f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}")
    faults = [_count(missing, "missing"), _count(unexpected, "unexpected"), _count(reshaped, "of another shape")]
    if any(faults):
        raise ValueError(
            f"Weights in {path} do not fit this encoder: {'; '.join(filter(None, faults))}. "
            f"The encoder has {len(own)} keys, the file {len(state)}. Check that its name is that of the encoder."
        )


class ImagePreprocessor(nn.Module):
    """Resizes images to the size of a pretrained network, and normalises them by its mean and standard deviation.

    Args:
        mean: Means of red, green and blue in [0, 1].
        std: Standard deviations.
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
        """Preprocess images, uint8 or float in [0, 1], (N, 3, H, W), to normalised float of `size`."""
        x = frames.float() / 255 if frames.dtype == torch.uint8 else frames
        if self.size is not None and tuple(x.shape[-2:]) != self.size:
            # bicubic interpolation overshoots at edges; values stay in [0, 1]
            x = F.interpolate(x, self.size, mode="bicubic", antialias=True).clamp(0, 1)
        return (x - self.mean.to(x)) / self.std.to(x)


def _read(path: Path) -> object:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors: object = load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a whole safetensors file ({error}). Download it again.") from error
        return tensors
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, EOFError and others for bad files
        raise ValueError(
            f"{path} cannot be read as weights ({type(error).__name__}). Accepted are whole .safetensors and state "
            "dicts that hold tensors only. Other pickles are refused because loading them can run code; a file that "
            "was cut short has to be fetched again."
        ) from error
    return content


def _count(keys: Collection[str], fault: str) -> str:
    """Number of keys with a fault, and the first three; empty where there are none."""
    if not keys:
        return ""
    examples = sorted(keys)[:3]
    more = ", ..." if len(keys) > len(examples) else ""
    return f"{len(keys)} {fault} ({', '.join(examples)}{more})"
