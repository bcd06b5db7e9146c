# SPDX-License-Identifier: Apache-2.0
"""ONE-PEACE's vision tower, fine-tuned on videos, over windows of 16 frames: the pictures of CCNet's second table.

Source:
    Wang et al., ONE-PEACE, 2023, sections 3.1 and 4.1, and `one_peace_vision/video` of OFA-Sys/ONE-PEACE at commit
    71cfadf for the adapters of Kinetics-400's checkpoint (those of Yang et al., AIM, ICLR 2023): attention over the
    frames before that over patches, and small networks beside both. The features of UniAV are taken to be the mean of
    the frames' first tokens, which that checkpoint's classifier reads; their extraction was not published.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.encoders.base import WindowEncoder
from avkit.encoders.one_peace import PUBLISHED, OnePeaceLayer, OnePeaceSizes, load_tower, weight_file
from avkit.encoders.pretrained import ImagePreprocessor

#: Side of pictures in pixels, and of their grid of patches.
SIDE = 256
_GRID = 16
#: Frames of a window.
FRAMES = 16
#: Factor of the network beside the feed-forward layer.
_BESIDE = 0.5
#: Width of the adapters, as a share of the tower's.
_ADAPTER_SHARE = 0.25
_MEAN = (122.771 / 255, 116.746 / 255, 104.094 / 255)
_STD = (68.5 / 255, 66.632 / 255, 70.323 / 255)
#: The authors' file.
_FILE = "one_peace_checkpoints/onepeace_video_k400.pth"
#: The authors' names of what is this tower's own, as patterns, and ours.
_NAMES = (
    (r"^image_adapter\.embed_images\.0\.", "stem.0.conv."),
    (r"^image_adapter\.embed_images\.1\.layer_norm\.", "stem.0.norm."),
    (r"^image_adapter\.embed_images\.3\.", "stem.1.conv."),
    (r"^image_adapter\.embed_images\.4\.layer_norm\.", "stem.1.norm."),
    (r"^image_adapter\.embed_images\.6\.", "stem.2.conv."),
    (r"^image_adapter\.cls_embedding$", "first"),
    (r"^image_adapter\.pos_embed$", "positions"),
    (r"^image_adapter\.temporal_embedding$", "times"),
    (r"^image_adapter\.rel_pos_table(_list\.0)?\.weight$", "distance_bias"),
    (r"^image_layer_norm\.", "norm."),
    (r"\.T_Adapter\.D_fc(\d)\.", r".over_time.fc\1."),
    (r"\.S_Adapter\.D_fc(\d)\.", r".over_patches.fc\1."),
    (r"\.MLP_Adapter\.D_fc(\d)\.", r".beside.fc\1."),
)


class VideoLayer(OnePeaceLayer):
    """A layer of the vision tower with adapters for videos.

    Args:
        sizes: Sizes of the tower.
    """

    def __init__(self, sizes: OnePeaceSizes) -> None:
        super().__init__(sizes)
        self.over_time = Adapter(sizes.width)
        self.over_patches = Adapter(sizes.width)
        self.beside = Adapter(sizes.width)

    def forward_video(self, x: Tensor, bias: Tensor) -> Tensor:
        """Mix the frames, then the patches, of tokens (N, F, L, D).

        What the frames tell each other reaches a token through the attention over patches alone, as in the authors'
        code, whose residual is taken before.
        """
        times = x.transpose(1, 2).flatten(0, 1)
        times = self.over_time(self.attention(self.attention_norm(times)))
        mixed = x + times.unflatten(0, (len(x), -1)).transpose(1, 2)
        attended = self.attention(self.attention_norm(mixed.flatten(0, 1)), bias)
        attended = (attended + self.over_patches(attended)).unflatten(0, x.shape[:2])
        x = x + self.attention_scale * attended
        normed = self.feed_forward_norm(x)
        return x + self.feed_forward_scale * self.feed_forward(normed) + _BESIDE * self.beside(normed)


class Adapter(nn.Module):
    """A small network of two layers.

    Args:
        width: Width D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, int(width * _ADAPTER_SHARE))
        self.fc2 = nn.Linear(int(width * _ADAPTER_SHARE), width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each of (..., D)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class OnePeaceVideoTower(nn.Module):
    """The tower: patches of 16 by 16 pixels in three convolutions, positions in space and time, layers.

    Args:
        sizes: Its sizes.
    """

    rows: Tensor

    def __init__(self, sizes: OnePeaceSizes) -> None:
        super().__init__()
        width = sizes.width
        self.stem = nn.Sequential(
            _Patches(3, width // 4, 4), _Patches(width // 4, width // 4, 2), _Patches(width // 4, width, 2, last=True)
        )
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(_GRID**2 + 1, width))
        self.times = nn.Parameter(torch.zeros(1, FRAMES, width))
        self.distance_bias = nn.Parameter(torch.zeros((2 * _GRID - 1) ** 2 + 3, sizes.heads))
        self.layers = nn.ModuleList(VideoLayer(sizes) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("rows", offset_rows(_GRID), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode windows of normalised frames, (N, 16, 3, 256, 256), to (N, D)."""
        patches = self.stem(pixels.flatten(0, 1)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(patches), -1, -1), patches], 1) + self.positions
        x = tokens.unflatten(0, pixels.shape[:2]) + self.times[:, :, None]
        bias = self.distance_bias[self.rows].permute(2, 0, 1)
        for layer in self.layers:
            assert isinstance(layer, VideoLayer)
            x = layer.forward_video(x, bias)
        return self.norm(x[:, :, 0]).mean(1)


class OnePeaceVideo(WindowEncoder):
    """ONE-PEACE's vision tower over windows of 16 frames.

    Args:
        pretrained: None for random weights, `hub` for those fine-tuned on Kinetics-400 (`onepeace_video_k400.pth`), or
            a path to them.
        sizes: Sizes of the tower.

    Raises:
        ValueError: If the weights do not fit.
    """

    def __init__(self, pretrained: str | Path | None = None, sizes: OnePeaceSizes = PUBLISHED) -> None:
        super().__init__()
        path = weight_file(pretrained, _FILE, "visual", lambda: OnePeaceVideoTower(sizes)) if pretrained else None
        self.network = OnePeaceVideoTower(sizes)
        self.preprocess = ImagePreprocessor(_MEAN, _STD, (SIDE, SIDE))
        self.width = sizes.width
        if path is not None:
            load_tower(self.network, path, _NAMES)

    def prepare(self, frames: Tensor) -> Tensor:
        """All frames as they are, uint8 (T, 3, H, W)."""
        return frames

    def forward(self, windows: Tensor) -> Tensor:
        """Encode windows, uint8 (N, 16, 3, H, W), to (N, D).

        Raises:
            ValueError: If a window is not of 16 frames.
        """
        if windows.shape[1] != FRAMES:
            raise ValueError(
                f"ONE-PEACE's video checkpoint takes windows of {FRAMES} frames, got {windows.shape[1]}. Give window "
                "and fps whose product is that, such as window: 1.0 and fps: 16."
            )
        pixels = self.preprocess(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
        encoded: Tensor = self.network(pixels)
        return encoded


class _Patches(nn.Module):
    """A convolution without overlap and, but for the last, a norm over channels and GELU."""

    def __init__(self, inputs: int, outputs: int, side: int, *, last: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, side, side)
        self.norm = None if last else nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm is None:
            return x
        return F.gelu(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def offset_rows(grid: int) -> Tensor:
    """Row of the bias for each pair of tokens, int64 (1 + grid², 1 + grid²), by the patches' offset.

    The last three rows are from the first token to patches, from patches to it, and its own.
    """
    span = 2 * grid - 1
    place = torch.arange(grid)
    offset = place[:, None] - place[None] + grid - 1
    rows = offset[:, None, :, None] * span + offset[None, :, None, :]
    count = span**2
    table = torch.full((grid**2 + 1, grid**2 + 1), count + 2)
    table[1:, 1:] = rows.reshape(grid**2, grid**2)
    table[0, 1:] = count
    table[1:, 0] = count + 1
    return table
