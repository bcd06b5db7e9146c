# SPDX-License-Identifier: Apache-2.0
"""ONE-PEACE's audio tower over windows of a second, the sound of CCNet's and UniAV's second table.

Source:
    Wang et al., ONE-PEACE, 2023, sections 3.1 and 4.1; `hub_interface.py` of OFA-Sys/ONE-PEACE at commit 71cfadf for
    what stands around the tower: a waveform of mean 0 and variance 1, and a projection to the unit sphere. UniAV's
    published prompts have length 1, so its features are taken to be these; their extraction was not published.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.encoders.base import WindowAudioEncoder
from avkit.encoders.one_peace import PUBLISHED, OnePeaceLayer, OnePeaceSizes, load_tower, weight_file

#: Channels of the convolutions over samples.
_CHANNELS = 512
#: Kernel and stride of each.
_CONVOLUTIONS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
#: Convolutions that add positions: how many, their kernel, and their groups.
_POSITION_LAYERS = 5
_POSITION_KERNEL = 19
_POSITION_GROUPS = 16
#: Distances between tokens that have a bias of their own, in either direction.
_DISTANCES = 512
#: Longest sequence for which the buckets of distances are laid out.
_LONGEST = 1024
#: Seconds of a window.
_SECONDS = 1.0
#: The authors' file of all towers.
_FILE = "one-peace.pt"
#: The authors' names of what is this tower's own, as patterns, and ours.
_NAMES = (
    (r"^audio_adapter\.embed_audios\.0\.conv_layers\.(\d)\.0\.", r"convolutions.\1.conv."),
    (r"^audio_adapter\.embed_audios\.0\.conv_layers\.(\d)\.2\.1\.", r"convolutions.\1.norm."),
    (r"^audio_adapter\.embed_audios\.2\.", "embed_norm."),
    (r"^audio_adapter\.embed_audios\.3\.", "embed."),
    (r"^audio_adapter\.embed_positions\.(\d)\.0\.", r"positions.\1."),
    (r"^audio_adapter\.cls_pos_embed$", "first_position"),
    (r"^audio_adapter\.cls_embedding$", "first"),
    (r"^audio_adapter\.rel_pos_table(_list\.0)?\.weight$", "distance_bias"),
    (r"^audio_layer_norm\.", "norm."),
    (r"^audio_proj\.", "projection."),
)


class OnePeaceAudioTower(nn.Module):
    """The tower: convolutions over samples, positions by convolution, layers, the first token projected.

    Args:
        sizes: Its sizes.
    """

    buckets: Tensor

    def __init__(self, sizes: OnePeaceSizes) -> None:
        super().__init__()
        width = sizes.width
        inputs = (1, *(_CHANNELS for _ in _CONVOLUTIONS[1:]))
        self.convolutions = nn.ModuleList(
            _SampleConvolution(channels, *form) for channels, form in zip(inputs, _CONVOLUTIONS, strict=True)
        )
        self.embed_norm = nn.LayerNorm(_CHANNELS)
        self.embed = nn.Linear(_CHANNELS, width)
        # counted from 1, as the authors' keys are
        self.positions = nn.ModuleDict({str(k + 1): _position_convolution(width) for k in range(_POSITION_LAYERS)})
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.first_position = nn.Parameter(torch.zeros(1, 1, width))
        self.distance_bias = nn.Parameter(torch.zeros(2 * _DISTANCES + 2, sizes.heads))
        self.layers = nn.ModuleList(OnePeaceLayer(sizes) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, width)
        self.register_buffer("buckets", distance_buckets(_LONGEST, _DISTANCES), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Encode windows of samples at 16 kHz, (N, n), to vectors of length 1, (N, D)."""
        x = F.layer_norm(samples, samples.shape[-1:])[:, None]
        for convolution in self.convolutions:
            x = convolution(x)
        tokens = self.embed(self.embed_norm(x.transpose(1, 2)))
        x = tokens.transpose(1, 2)
        for convolution in self.positions.values():
            x = F.gelu(F.layer_norm(convolution(x).transpose(1, 2), (tokens.shape[-1],)).transpose(1, 2))
        first = (self.first + self.first_position).expand(len(x), -1, -1)
        x = torch.cat([first, tokens + x.transpose(1, 2)], 1)
        length = x.shape[1]
        bias = self.distance_bias[self.buckets[:length, :length]].permute(2, 0, 1)
        for layer in self.layers:
            x = layer(x, bias)
        return F.normalize(self.projection(self.norm(x[:, 0])), dim=-1)


class OnePeaceAudio(WindowAudioEncoder):
    """ONE-PEACE's audio tower over the second from the start of each step.

    Args:
        pretrained: None for random weights, `hub` for `one-peace.pt` (16 GB, of which this tower is read), or a path to
            it or to weights that were fine-tuned on sound.
        sizes: Sizes of the tower.

    Raises:
        ValueError: If the weights do not fit.
    """

    def __init__(self, pretrained: str | Path | None = None, sizes: OnePeaceSizes = PUBLISHED) -> None:
        super().__init__(_SECONDS)
        path = weight_file(pretrained, _FILE, "audio", lambda: OnePeaceAudioTower(sizes)) if pretrained else None
        self.network = OnePeaceAudioTower(sizes)
        self.width = sizes.width
        if path is not None:
            load_tower(self.network, path, _NAMES)


class _SampleConvolution(nn.Module):
    """A convolution over time, a norm over channels, GELU."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, _CHANNELS, kernel, stride, bias=False)
        self.norm = nn.LayerNorm(_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.norm(self.conv(x).transpose(1, 2)).transpose(1, 2))


def _position_convolution(width: int) -> nn.Conv1d:
    return nn.Conv1d(width, width, _POSITION_KERNEL, padding=_POSITION_KERNEL // 2, groups=_POSITION_GROUPS)


def distance_buckets(length: int, distances: int) -> Tensor:
    """Row of the bias for each pair of tokens, int64 (length, length); the first token is no sound.

    Near distances have a bucket each, far ones share buckets that grow as a logarithm. The last three rows are from the
    first token to others, from others to it, and its own.

    Args:
        length: Number of tokens.
        distances: Number of buckets in either direction.
    """
    place = torch.arange(length)
    distance = place[:, None] - place[None]
    near = distances // 2
    far = distance.abs().clamp(min=near).double()
    growth = torch.log(far / near) / math.log((_LONGEST - 1) / near) * (near - 1)
    bucket = torch.where(distance.abs() <= near, distance, distance.sign() * (near + growth.ceil().long()))
    rows = bucket + distances - 1
    count = 2 * distances - 1
    rows[0, :] = count
    rows[:, 0] = count + 1
    rows[0, 0] = count + 2
    return rows
