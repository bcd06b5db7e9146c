# SPDX-License-Identifier: Apache-2.0
"""I3D over windows of frames or of optical flow, the visual features of UnAV-100.

Source:
    Carreira & Zisserman, Quo Vadis, Action Recognition?, CVPR 2017, figure 3: Inception-v1 with three-dimensional
    kernels. Preprocessing as in v-iashin/video_features at commit a2f61b7a: frames with a shorter side of 256, the
    middle 224 by 224 of them; flow between neighbours, cut at 20 pixels and rounded to 256 values.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.encoders.base import WindowEncoder
from avkit.encoders.pretrained import HUB, check_weights, covers, give_file, read_weights, released_file
from avkit.encoders.raft import OpticalFlow

#: Side of the square that the network takes, in pixels.
SIDE = 224
#: Where the published weights are, by kind of input.
_WEIGHTS = "https://github.com/v-iashin/video_features/raw/a2f61b7a/models/i3d/checkpoints"
#: Pixels per frame at which flow is cut.
_MAX_FLOW = 20.0
#: Output channels of the Inception modules: of the four branches, with the inner widths of the second and third.
_MODULES: dict[str, tuple[int, int, int, int, int, int]] = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
#: Kernel and stride of the pooling before a layer.
_POOLING: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "2b": ((1, 3, 3), (1, 2, 2)),
    "3b": ((1, 3, 3), (1, 2, 2)),
    "4b": ((3, 3, 3), (2, 2, 2)),
    "5b": ((2, 2, 2), (2, 2, 2)),
}
#: Two public forms of the weights' keys, as patterns, and ours.
_NAMES = (
    (r"^[Cc]onv3d_(1a|2b|2c)_\dx\d\.", r"layers.\1."),
    (r"^[Mm]ixed_(\d[a-f])\.", r"layers.\1."),
    (r"\.(branch_0|b0)\.", ".first."),
    (r"\.(branch_1\.0|b1a)\.", ".second.0."),
    (r"\.(branch_1\.1|b1b)\.", ".second.1."),
    (r"\.(branch_2\.0|b2a)\.", ".third.0."),
    (r"\.(branch_2\.1|b2b)\.", ".third.1."),
    (r"\.(branch_3\.1|b3b)\.", ".pooled."),
    (r"\.conv3d\.", ".conv."),
    (r"\.(batch3d|bn)\.", ".norm."),
)
#: Prefixes of the keys of the classifier, which is not read.
_CLASSIFIER = ("conv3d_0c_1x1.", "logits.")


class I3D(nn.Module):
    """I3D up to its last average pooling.

    Args:
        channels: Channels of the input: 3 for frames, 2 for flow.
    """

    width = 1024

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(
            {"1a": _Unit(channels, 64, 7, stride=2), "2b": _Unit(64, 64, 1), "2c": _Unit(64, 192, 3)}
        )
        inputs = 192
        for name, widths in _MODULES.items():
            self.layers[name] = _Inception(inputs, widths)
            inputs = widths[0] + widths[2] + widths[4] + widths[5]

    def forward(self, x: Tensor) -> Tensor:
        """Encode (N, channels, F, 224, 224), values in [-1, 1], to (N, 1024); F is at least 9."""
        for name, layer in self.layers.items():
            if name in _POOLING:
                x = _pool_same(x, *_POOLING[name])
            x = layer(x)
        pooled = F.avg_pool3d(x, (2, *x.shape[-2:]), stride=1)
        return pooled.mean((2, 3, 4))

    def load_published(self, weights: str | Path, name: str, stream: str) -> None:
        """Load weights.

        Args:
            weights: `hub`, or a path to weights with the keys of kinetics_i3d_pytorch or of pytorch-i3d.
            name: Name of the encoder, for errors.
            stream: `rgb` or `flow`.

        Raises:
            HubError: If they cannot be downloaded.
            ValueError: If they do not fit.
        """
        own = self.state_dict()
        fits = covers(own.keys())
        if weights == HUB:
            address = f"{_WEIGHTS}/i3d_{stream}.pt"
            count = sum(x.numel() for x in self.parameters())
            advice = give_file("visual", f"a file such as i3d_{stream}.pt of v-iashin/video_features")
            weights = released_file(f"Weights of {name}", address, advice, count)
        renamed = rename_i3d(read_weights(weights, lambda tensors: fits(rename_i3d(tensors))))
        check_weights(own, renamed, weights, _CLASSIFIER)
        self.load_state_dict({key: renamed[key] for key in own})


class I3DRGB(WindowEncoder):
    """I3D over frames.

    Args:
        pretrained: None for random weights, `hub` for those of Kinetics-400 that UnAV-100's features were made with, or
            a path.
    """

    spare_frames: ClassVar[int] = 1  # flow is read between neighbours, and both streams have as many rows

    def __init__(self, pretrained: str | Path | None = None) -> None:
        super().__init__()
        self.network = I3D(3)
        self.width = I3D.width
        if pretrained:
            self.network.load_published(pretrained, "i3d_rgb", "rgb")

    def prepare(self, frames: Tensor) -> Tensor:
        """The middle of all frames but the last, uint8 (T - 1, 3, 224, 224)."""
        return crop_middle(frames[:-1])

    def forward(self, windows: Tensor) -> Tensor:
        """Encode windows, uint8 (N, F, 3, 224, 224), to (N, 1024)."""
        encoded: Tensor = self.network((windows.float() * (2 / 255) - 1).transpose(1, 2))
        return encoded


class I3DFlow(WindowEncoder):
    """I3D over optical flow, which RAFT of torchvision computes.

    Args:
        pretrained: None for random weights of both networks; `hub`; a path to weights of I3D, with RAFT's from the hub;
            or two paths joined by `+`, of I3D and of RAFT.

    Raises:
        AvkitError: If torchvision is not installed.
    """

    spare_frames: ClassVar[int] = 1

    def __init__(self, pretrained: str | Path | None = None) -> None:
        super().__init__()
        own, _, raft = str(pretrained or "").partition("+")
        self.flow = OpticalFlow((raft or HUB) if own else None)
        self.network = I3D(2)
        self.width = I3D.width
        if own:
            self.network.load_published(own, "i3d_flow", "flow")

    def prepare(self, frames: Tensor) -> Tensor:
        """The middle of the flow from each frame to the next, whole numbers of 0 to 256, int16 (T - 1, 2, 224, 224)."""
        parts = [quantise_flow(crop_middle(flow)) for flow in self.flow.between(frames)]
        return torch.cat(parts)

    def forward(self, windows: Tensor) -> Tensor:
        """Encode windows, int16 (N, F, 2, 224, 224), to (N, 1024)."""
        encoded: Tensor = self.network((windows.float() * (2 / 255) - 1).transpose(1, 2))
        return encoded


class _Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel = (kernel,) * 3
        self.stride = (stride,) * 3
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.norm = nn.BatchNorm3d(outputs)  # UnAV's features were made with this epsilon, 1e-5

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(_pad_same(x, self.kernel, self.stride))), inplace=True)


class _Inception(nn.Module):
    """Four branches side by side: 1, 1 and 3, 1 and 3, pooling and 1."""

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.first = _Unit(inputs, widths[0], 1)
        self.second = nn.Sequential(_Unit(inputs, widths[1], 1), _Unit(widths[1], widths[2], 3))
        self.third = nn.Sequential(_Unit(inputs, widths[3], 1), _Unit(widths[3], widths[4], 3))
        self.pooled = _Unit(inputs, widths[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(_pool_same(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat([self.first(x), self.second(x), self.third(x), pooled], 1)


def rename_i3d(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of either public form by our keys; keys of other things stay as they are."""
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        ours = key
        if not key.startswith(_CLASSIFIER):
            for pattern, replacement in _NAMES:
                ours = re.sub(pattern, replacement, ours)
        renamed[ours] = tensor
    return renamed


def crop_middle(frames: Tensor) -> Tensor:
    """The middle 224 by 224 pixels of (T, C, H, W).

    Raises:
        ValueError: If frames are smaller.
    """
    height, width = frames.shape[-2:]
    if min(height, width) < SIDE:
        raise ValueError(f"I3D takes frames of {SIDE} pixels or more; got {height} x {width}. Give 'resize: 256'.")
    top = (height - SIDE) // 2
    left = (width - SIDE) // 2
    return frames[..., top : top + SIDE, left : left + SIDE].contiguous()


def quantise_flow(flow: Tensor) -> Tensor:
    """Flow in pixels per frame, cut at 20, as whole numbers from 0 to 256, int16; 128 is none."""
    return (flow.clamp(-_MAX_FLOW, _MAX_FLOW) * (255 / (2 * _MAX_FLOW)) + 128).round().to(torch.int16)


def _pad_same(x: Tensor, kernel: Iterable[int], stride: Iterable[int]) -> Tensor:
    """Pad (N, C, F, H, W) with zeros so that every stride has an output, the odd one of them at the end."""
    padding: list[int] = []
    for size, extent, step in zip(x.shape[2:], kernel, stride, strict=True):
        missing = max(0, (-(-size // step) - 1) * step + extent - size)
        padding = [missing // 2, missing - missing // 2, *padding]
    return F.pad(x, padding) if any(padding) else x


def _pool_same(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Maximum over a neighbourhood; zeros around the input lose nothing, since it is not negative."""
    return F.max_pool3d(_pad_same(x, kernel, stride), kernel, stride)
