# SPDX-License-Identifier: Apache-2.0
"""R(2+1)D of torchvision over windows of frames: the features of motion that LLP is published with.

Source:
    Tran et al., A closer look at spatiotemporal convolutions for action recognition, CVPR 2018; weights and
    preprocessing of torchvision: frames of 128 by 171 pixels, the middle 112 by 112 of them.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avkit.encoders.base import WindowEncoder
from avkit.encoders.pretrained import (
    HUB,
    ImagePreprocessor,
    check_weights,
    covers,
    give_file,
    read_weights,
    released_file,
)
from avkit.errors import AvkitError

#: Torchvision's weights of Kinetics-400.
WEIGHTS_URL = "https://download.pytorch.org/models/r2plus1d_18-91a641e6.pth"
_RESIZE = (128, 171)
_SIDE = 112
_MEAN = (0.43216, 0.394666, 0.37645)
_STD = (0.22803, 0.22145, 0.216989)
#: Prefix of the classifier's keys.
_CLASSIFIER = ("fc.",)


class R2Plus1D(WindowEncoder):
    """R(2+1)D with 18 layers, up to its average pooling.

    Args:
        pretrained: None for random weights, `hub` for torchvision's of Kinetics-400, or a path to such weights.

    Raises:
        AvkitError: If torchvision is not installed.
        ValueError: If the weights do not fit.
    """

    def __init__(self, pretrained: str | Path | None = None) -> None:
        super().__init__()
        self.network = _torchvision_network()
        self.network.fc = torch.nn.Identity()
        self.preprocess = ImagePreprocessor(_MEAN, _STD, _RESIZE)
        self.width = 512
        if pretrained:
            self._load(pretrained)

    def prepare(self, frames: Tensor) -> Tensor:
        """All frames as they are, uint8 (T, 3, H, W)."""
        return frames

    def forward(self, windows: Tensor) -> Tensor:
        """Encode windows, uint8 (N, F, 3, H, W), to (N, 512)."""
        pixels = self.preprocess(windows.flatten(0, 1))
        top = (_RESIZE[0] - _SIDE) // 2
        left = (_RESIZE[1] - _SIDE) // 2
        cropped = pixels[..., top : top + _SIDE, left : left + _SIDE].unflatten(0, windows.shape[:2])
        encoded: Tensor = self.network(cropped.transpose(1, 2))
        return encoded

    def _load(self, weights: str | Path) -> None:
        own = self.network.state_dict()
        if weights == HUB:
            count = sum(x.numel() for x in self.network.parameters())
            weights = released_file("Weights of R(2+1)D", WEIGHTS_URL, give_file("visual"), count)
        state = read_weights(weights, covers(own.keys()))
        check_weights(own, state, weights, _CLASSIFIER)
        self.network.load_state_dict({key: state[key] for key in own})


def _torchvision_network() -> Any:
    """The network with random weights."""
    try:
        from torchvision.models.video import r2plus1d_18
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch raises RuntimeError
        raise AvkitError(
            f"R(2+1)D needs torchvision, which cannot be imported: {error}. Install it with pip install "
            f"'avkit[pretrained]', built for torch {torch.__version__}."
        ) from error
    return r2plus1d_18(weights=None, progress=False)
