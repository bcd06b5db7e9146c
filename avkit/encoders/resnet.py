# SPDX-License-Identifier: Apache-2.0
"""ResNet-18 as papers of sound and sight use it: other inputs, a finer last map, names of torchvision's weights."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avkit.encoders.base import VisualEncoder, VisualFeatures
from avkit.encoders.pretrained import HUB, Pixels, check_weights, read_weights
from avkit.errors import AvkitError

#: Beginnings of keys that a weight file may hold beside the trunk's: a classifier, and first layers for other inputs.
_OTHER = ("fc.", "conv1_a.", "conv1_flow.")


def _timm() -> Any:
    """The timm library, loaded when a network is made: who converts or lists other systems does without."""
    try:
        import timm
    except (ImportError, RuntimeError) as e:  # a torchvision of another torch raises the second
        raise AvkitError(
            f"ResNet-18 needs a library that cannot be imported: {e}. Install it with pip install 'avkit[pretrained]', "
            f"and a torchvision built for torch {torch.__version__}."
        ) from e
    return timm


class ResNet18(nn.Module):
    """ResNet-18 of the timm library up to its last map.

    Args:
        inputs: Channels of the input: 3 for pictures, 1 for spectrograms.
        stride: Of the last map: 32, or 16 where the last stage does not halve it, without dilation.

    Raises:
        ValueError: If the stride is neither.
    """

    width = 512

    def __init__(self, inputs: int = 3, stride: int = 32) -> None:
        super().__init__()
        if stride not in (16, 32):
            raise ValueError(f"stride is {stride}; the last map has 16 or 32.")
        self.network = _timm().create_model("resnet18.tv_in1k", pretrained=False, in_chans=inputs, num_classes=0)
        self.network.global_pool = nn.Identity()
        if stride == 16:
            block = self.network.layer4[0]
            block.conv1.stride = block.downsample[0].stride = (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, inputs, H, W) to (N, 512, H / stride, W / stride)."""
        found: Tensor = self.network.forward_features(x)
        return found

    def load_imagenet(self, weights: str | Path) -> None:
        """Take weights for pictures: `hub` for those of ImageNet, or a path to torchvision's or timm's.

        Raises:
            ValueError: If they do not fit.
        """
        if weights == HUB:
            state = _timm().create_model("resnet18.tv_in1k", pretrained=True).state_dict()
        else:
            state = read_weights(weights)
            check_weights(self.network.state_dict(), state, weights, _OTHER)
        self.network.load_state_dict({k: x for k, x in state.items() if not k.startswith(_OTHER)})


def resnet_name(key: str, first: str = "conv1") -> str:
    """What torchvision, and the authors after it, call a key of `ResNet18`; `first` is the first convolution there."""
    key = key.removeprefix("network.")
    return f"{first}.{key.removeprefix('conv1.')}" if key.startswith("conv1.") else key


class ResNet18Visual(VisualEncoder):
    """ResNet-18 with a map of 14 by 14 of pictures of 224 pixels, as the features of AVST were made.

    Args:
        pretrained: None for random weights, `hub` for those of ImageNet, or a path to torchvision's or timm's weights.

    Raises:
        ValueError: If the weights do not fit.
    """

    def __init__(self, pretrained: str | Path | None = None) -> None:
        super().__init__()
        self.trunk = ResNet18(stride=16)
        if pretrained:
            self.trunk.load_imagenet(pretrained)
        self.pixels = Pixels((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989), (224, 224))
        self.input_size = (224, 224)
        self.width = ResNet18.width

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode pictures, uint8 or float in [0, 1], (N, 3, H, W) of any size; `frame` is the mean of the patches."""
        maps = self.trunk(self.pixels(frames))
        patches = maps.flatten(2).transpose(1, 2)
        return VisualFeatures(patches.mean(1), patches, (maps.shape[2], maps.shape[3]))


def resnet_unused(inputs: int) -> dict[str, tuple[int, ...]]:
    """Keys that LVS's trunks have beside `ResNet18`'s: first convolutions for other inputs, a classifier."""
    first = {"conv1_a.weight": 1, "conv1.weight": 3, "conv1_flow.weight": 6}
    dead: dict[str, tuple[int, ...]] = {key: (64, n, 7, 7) for key, n in first.items() if n != inputs}
    return dead | {"fc.weight": (1000, 512), "fc.bias": (1000,)}
