# SPDX-License-Identifier: Apache-2.0
"""Weights of encoders, and preprocessing of images for pretrained networks."""

import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.encoders.state_choice import Fits, choose_state, without_scalars
from avkit.reading.hub import from_hub
from avkit.reading.tensors import check_finite

#: Value of `pretrained` that stands for the published weights of an encoder, which are downloaded.
HUB = "hub"


def give_file(kind: str, what: str = "a path to a weight file") -> str:
    """The advice to name weights here instead of those of a hub.

    Args:
        kind: Kind of the encoder, as its option has it, such as `visual`.
        what: What to name.
    """
    return (
        f"Download them where there is a network, and name {what} with --model.system.{kind}_weights PATH (--weights "
        "STREAM=PATH of avkit extract and predict, pretrained=PATH in Python)."
    )


def count_parameters(build: Callable[[], nn.Module]) -> int:
    """Number of parameters of a network, which is built without memory for them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters())


def released_file(what: str, address: str, instead: str, parameters: int) -> Path:
    """A weight file at an address, from torch's cache or downloaded into it.

    Args:
        what: What it holds, such as `Weights of VGGish`.
        address: The file; where its name ends with a hash, the hash is checked.
        instead: What to do without it, as a sentence.
        parameters: Number of parameters, for the size in an error.

    Raises:
        HubError: If it is not in the cache and cannot be downloaded.
    """
    name = address.rpartition("/")[2]
    digest = re.search(r"-([0-9a-f]{8,})\.", name)
    path = Path(torch.hub.get_dir(), "checkpoints", name)
    with from_hub(what, address, instead, lambda: parameters) as is_reachable:
        if not path.exists():
            if not is_reachable:
                raise FileNotFoundError(address)
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(address, str(path), digest[1] if digest else None)
    return path


def read_weights(path: str | Path, fits: Fits | None = None) -> dict[str, Tensor]:
    """Read the tensors of a weight file by key, on the CPU.

    Args:
        path: `.safetensors`, or a file of `torch.save`, see `choose_state` for what may stand around the weights.
        fits: Says whether weights are those of the encoder; None for whatever the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no weights, several that may be meant, or numbers that are not finite.
    """
    chosen = choose_state(path, fits)
    if chosen.averaged and chosen.others:
        warnings.warn(f"{path}: averaged weights were taken, {chosen.name!r}, of several.", stacklevel=2)
    check_finite(chosen.tensors, path, "Use weights of an earlier step.")
    return chosen.tensors


def covers(keys: AbstractSet[str]) -> Fits:
    """A function that says whether weights have at least half of the keys of a module."""

    def fits(state: Mapping[str, Tensor]) -> bool:
        return 2 * len(keys & state.keys()) >= max(1, len(keys))

    return fits


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Load a weight file into a module; every key and shape must fit.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no weights, or keys or shapes differ, with counts and examples.
    """
    own = module.state_dict()
    state = without_scalars(read_weights(path, covers(own.keys())), own)
    check_weights(own, state, path)
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


def _count(keys: Collection[str], fault: str) -> str:
    """Number of keys with a fault, and the first three; empty where there are none."""
    if not keys:
        return ""
    examples = sorted(keys)[:3]
    more = ", ..." if len(keys) > len(examples) else ""
    return f"{len(keys)} {fault} ({', '.join(examples)}{more})"
