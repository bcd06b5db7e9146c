# SPDX-License-Identifier: Apache-2.0
"""Optical flow between neighbouring frames by RAFT of torchvision, which is imported when a network is built.

Source:
    Teed & Deng, RAFT: Recurrent all-pairs field transforms for optical flow, ECCV 2020. Padding to multiples of eight
    pixels and 20 updates as in v-iashin/video_features at commit a2f61b7a.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.encoders.pretrained import HUB, check_weights, covers, give_file, read_weights, released_file
from avkit.errors import AvkitError

#: The authors' weights after training on Sintel, as torchvision publishes them.
WEIGHTS_URL = "https://download.pytorch.org/models/raft_large_C_T_SKHT_V1-0b8c9e55.pth"
#: Refinements of the flow.
_UPDATES = 20
#: Frames whose sides are multiples of this are taken; others are padded.
_UNIT = 8
#: The least side that RAFT's pyramid of correlations takes.
_LEAST = 128
#: Pairs of frames at a time.
_PAIRS = 8
#: The authors' names of keys, as patterns, and torchvision's.
_NAMES = (
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    (r"^(\w+_encoder)\.conv1\.", r"\1.convnormrelu.0."),
    (r"^(\w+_encoder)\.norm1\.", r"\1.convnormrelu.1."),
    (r"^(\w+_encoder)\.conv2\.", r"\1.conv."),
    (r"(layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
    (r"(layer\d\.\d)\.norm([12])\.", r"\1.convnormrelu\2.1."),
    (r"^update_block\.encoder\.convc(\d)\.", r"update_block.motion_encoder.convcorr\1.0."),
    (r"^update_block\.encoder\.convf(\d)\.", r"update_block.motion_encoder.convflow\1.0."),
    (r"^update_block\.encoder\.conv\.", "update_block.motion_encoder.conv.0."),
    (r"^update_block\.gru\.conv([zrq])(\d)\.", r"update_block.recurrent_block.convgru\2.conv\1."),
    (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
)
#: Second names of a layer in the authors' files.
_COPIES = re.compile(r"layer\d\.\d\.norm3\.")


class OpticalFlow(nn.Module):
    """RAFT over the frames of a clip.

    Args:
        pretrained: None for random weights, `hub` for those trained on Sintel, or a path to weights with torchvision's
            keys or the authors'.

    Raises:
        AvkitError: If torchvision is not installed.
        ValueError: If the weights do not fit.
    """

    def __init__(self, pretrained: str | Path | None = None) -> None:
        super().__init__()
        self.network = _torchvision_raft()
        if pretrained:
            self._load(pretrained)

    def between(self, frames: Tensor) -> Iterator[Tensor]:
        """Flow from each frame to the next, in pixels, a few pairs at a time.

        Args:
            frames: uint8 (T, 3, H, W).

        Yields:
            Float (n, 2, H, W), x before y; T - 1 of them in all.
        """
        padding = _padding(frames.shape[-2], frames.shape[-1])
        left, _, top, _ = padding
        height, width = frames.shape[-2:]
        with torch.autocast(frames.device.type, enabled=False):
            for start in range(0, len(frames) - 1, _PAIRS):
                part = frames[start : start + _PAIRS + 1].float() * (2 / 255) - 1
                part = F.pad(part, padding, mode="replicate")
                flow: Tensor = self.network(part[:-1], part[1:], num_flow_updates=_UPDATES)[-1]
                yield flow[..., top : top + height, left : left + width]

    def _load(self, weights: str | Path) -> None:
        own = self.network.state_dict()
        fits = covers(own.keys())
        if weights == HUB:
            count = sum(x.numel() for x in self.network.parameters())
            advice = give_file("visual", "the files of I3D and of RAFT, I3D.pt+RAFT.pth,")
            weights = released_file("Weights of RAFT, which computes the flow,", WEIGHTS_URL, advice, count)
        renamed = rename_raft(read_weights(weights, lambda tensors: fits(rename_raft(tensors))))
        check_weights(own, renamed, weights)
        self.network.load_state_dict(renamed)


def rename_raft(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """RAFT's weights by torchvision's keys, of either form."""
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        ours = key
        for pattern, replacement in _NAMES:
            ours = re.sub(pattern, replacement, ours)
        if _COPIES.search(ours) is None:
            renamed[ours] = tensor
    return renamed


def _torchvision_raft() -> Any:
    """RAFT with random weights."""
    try:
        from torchvision.models.optical_flow import raft_large
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch raises RuntimeError
        raise AvkitError(
            f"Optical flow needs torchvision, which cannot be imported: {error}. Install it with pip install "
            f"'avkit[pretrained]', built for torch {torch.__version__}, or name features that need no flow."
        ) from error
    return raft_large(weights=None, progress=False)


def _padding(height: int, width: int) -> tuple[int, int, int, int]:
    """Pixels to add left, right, above and below for sides that RAFT takes."""
    tall = max(_LEAST, -(-height // _UNIT) * _UNIT) - height
    wide = max(_LEAST, -(-width // _UNIT) * _UNIT) - width
    return wide // 2, wide - wide // 2, tall // 2, tall - tall // 2
