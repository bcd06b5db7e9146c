# SPDX-License-Identifier: Apache-2.0
"""ResNet-18 as audio-visual papers use it: spectrograms as input, a finer last map, keys of torchvision's weights."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avkit.encoders.base import VisualEncoder, VisualFeatures
from avkit.encoders.pretrained import HUB, ImagePreprocessor, check_weights, covers, read_weights
from avkit.errors import AvkitError

#: Prefixes of keys that a weight file may hold in addition: a classifier, and first convolutions for other inputs.
_ADDITIONAL = ("fc.", "conv1_a.", "conv1_flow.")


def _timm() -> Any:
    """The timm library, imported when a network is built, so that converting or listing other systems needs no timm."""
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch raises RuntimeError
        raise AvkitError(
            f"ResNet-18 needs a library that cannot be imported: {error}. Install it with "
            f"pip install 'avkit[pretrained]', and a torchvision built for torch {torch.__version__}."
        ) from error
    return timm


class ResNet18(nn.Module):
    """ResNet-18 of the timm library without its pooling and classifier.

    Args:
        inputs: Channels of the input: 3 for images, 1 for spectrograms.
        stride: Stride of the output: 32, or 16, where the last stage keeps the size, without dilation.

    Raises:
        ValueError: If the stride is another.
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
            block.conv1.stride = (1, 1)
            block.downsample[0].stride = (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Encode (N, inputs, H, W) to (N, 512, H / stride, W / stride)."""
        features: Tensor = self.network.forward_features(x)
        return features

    def load_imagenet(self, weights: str | Path) -> None:
        """Load weights for images.

        Args:
            weights: `hub` for those of ImageNet, or a path to torchvision's or timm's weights.

        Raises:
            ValueError: If the weights do not fit.
        """
        if weights == HUB:
            timm = _timm()
            from avkit.encoders.timm_weights import timm_weights

            with timm_weights("resnet18.tv_in1k"):
                state = timm.create_model("resnet18.tv_in1k", pretrained=True).state_dict()
        else:
            own = self.network.state_dict()
            state = read_weights(weights, covers(own.keys()))
            check_weights(own, state, weights, _ADDITIONAL)
        self.network.load_state_dict({key: x for key, x in state.items() if not key.startswith(_ADDITIONAL)})


def resnet_name(key: str, first: str = "conv1") -> str:
    """Torchvision's name of a key of `ResNet18`, also used by papers; `first` is the name of the first convolution."""
    key = key.removeprefix("network.")
    if key.startswith("conv1."):
        return f"{first}.{key.removeprefix('conv1.')}"
    return key


def resnet_unused_keys(inputs: int) -> dict[str, tuple[int, ...]]:
    """Keys and shapes that LVS's ResNets have in addition to `ResNet18`: a classifier, and other first convolutions.

    Args:
        inputs: Channels of the input.
    """
    channels = {"conv1_a.weight": 1, "conv1.weight": 3, "conv1_flow.weight": 6}
    shapes: dict[str, tuple[int, ...]] = {}
    for key, count in channels.items():
        if count != inputs:
            shapes[key] = (64, count, 7, 7)
    return shapes | {"fc.weight": (1000, 512), "fc.bias": (1000,)}


class ResNet18Visual(VisualEncoder):
    """ResNet-18 with a map of 14 by 14 for images of 224 pixels, which the features of AVST were extracted with.

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
        self.input_size = (224, 224)
        mean = (0.43216, 0.394666, 0.37645)
        std = (0.22803, 0.22145, 0.216989)
        self.preprocess = ImagePreprocessor(mean, std, self.input_size)
        self.width = ResNet18.width

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode images, uint8 or float in [0, 1], (N, 3, H, W) of any size; `frame` is the mean of the patches."""
        maps = self.trunk(self.preprocess(frames))
        patches = maps.flatten(2).transpose(1, 2)
        return VisualFeatures(patches.mean(1), patches, (maps.shape[2], maps.shape[3]))
