# SPDX-License-Identifier: Apache-2.0
"""ActionFormer: a pyramid of local self-attention whose every point classifies and regresses one event."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.nn.event_levels import EventLevel
from avkit.nn.masked_conv import DepthwiseConv, ScaledDropPath, linear, sinusoid, subsample
from avkit.systems.checkpoints import OfficialNetwork


@dataclass
class ActionFormerOptions:
    """Options of ActionFormer's network.

    Attributes:
        width: Width D of the features.
        heads: Attention heads.
        window: Steps that a step attends to, itself in the middle; an odd number. 0 for all.
        stages: Convolutions at the start.
        blocks: Blocks of attention before the first halving.
        levels: Levels of the pyramid; each has half the steps of the one before.
        depth: Convolutions in each tower, the last included.
        positions: Add sines and cosines of positions.
        drop_path: Probability that a sample skips a residual branch in training.
    """

    width: int = 512
    heads: int = 4
    window: int = 19
    stages: int = 2
    blocks: int = 2
    levels: int = 6
    depth: int = 3
    positions: bool = False
    drop_path: float = 0.1


class LocalAttention(nn.Module):
    """Self-attention of each step to the steps around it.

    Args:
        width: Width D.
        heads: Attention heads.
        window: See `ActionFormerOptions`.

    Raises:
        ValueError: If the heads do not divide the width, or the window is even.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}.")
        if window and window % 2 == 0:
            raise ValueError(f"window is {window}; give an odd number of steps, or 0 for all.")
        self.heads = heads
        self.window = window
        self.project = linear(width, 3 * width)
        self.out = linear(width, width)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """From (B, T, D) and bool (B, T) to (B, T, D)."""
        query, key, value = rearrange(self.project(x), "b t (n h d) -> n b h t d", n=3, h=self.heads)
        attended = F.scaled_dot_product_attention(query, key, value, self._mask(valid))
        y: Tensor = self.out(rearrange(attended, "b h t d -> b t (h d)"))
        return y

    def _mask(self, valid: Tensor) -> Tensor:
        """Which steps each attends to, bool (B, 1, T, T); a step to itself even where it is padding."""
        steps = torch.arange(valid.shape[1], device=valid.device)
        distance = (steps[:, None] - steps).abs()
        near = distance <= self.window // 2 if self.window else torch.ones_like(distance, dtype=torch.bool)
        mask: Tensor = (near & valid[:, None]) | (distance == 0)
        return mask[:, None]


class LocalBlock(nn.Module):
    """Eq. 3 of the paper: attention and feed-forward layers, each normed first and added with a learned factor.

    Args:
        options: `width`, `heads`, `window` and `drop_path` are read.
        halve: Keep every second step, by a depthwise convolution with stride 2.
    """

    def __init__(self, options: ActionFormerOptions, *, halve: bool = False) -> None:
        super().__init__()
        width = options.width
        self.attention_norm = nn.LayerNorm(width)
        self.attention = LocalAttention(width, options.heads, options.window)
        self.attention_path = ScaledDropPath(width, options.drop_path)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(linear(width, 4 * width), nn.GELU(), linear(4 * width, width))
        self.feed_forward_path = ScaledDropPath(width, options.drop_path)
        self.down = DepthwiseConv(width, stride=2) if halve else None

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """From (B, T, D), 0 where padded, and bool (B, T) to the same, of half the steps where it halves."""
        keep = valid[..., None]
        x = x + self.attention_path(self.attention(self.attention_norm(x), valid))
        x = (x + self.feed_forward_path(self.feed_forward(self.feed_forward_norm(x)))) * keep
        if self.down is None:
            return x, valid
        halved = subsample(valid, 2)
        return self.down(x) * halved[..., None], halved


class ConvTower(nn.Module):
    """Convolutions over three steps, each with a norm and ReLU; padding is 0 before each, so it changes nothing.

    Args:
        inputs: Channels in.
        width: Channels out.
        depth: Number of convolutions.
    """

    def __init__(self, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [inputs] + [width] * depth
        self.convs = nn.ModuleList(nn.Conv1d(widths[i], width, 3, padding=1, bias=False) for i in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """From (B, T, inputs), 0 where padded, and bool (B, T) to (B, T, width), 0 where padded."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x.transpose(1, 2)).transpose(1, 2)).relu() * valid[..., None]
        return x


class ActionFormer(OfficialNetwork):
    """The network of "ActionFormer: Localizing Moments of Actions with Transformers" on joined features.

    Visual and audio features of a step are put side by side, as UnAV-100's and CCNet's authors did for their tables.

    Args:
        options: Sizes and switches.
        visual: Width of visual features.
        audio: Width of audio features.
        classes: Number of classes K.

    Source:
        Zhang, Wu and Li, ECCV 2022, sections 3.2 and 3.3; written from the paper, it takes no official weights.
    """

    name = "actionformer"
    source = "Zhang, Wu and Li, ECCV 2022, from the paper"
    Options = ActionFormerOptions

    def __init__(self, options: ActionFormerOptions, visual: int, audio: int, classes: int) -> None:
        super().__init__(options, visual=visual, audio=audio, classes=classes)
        width = options.width
        self.count = options.levels
        self.positions = options.positions
        self.enter = ConvTower(visual + audio, width, options.stages)
        self.stem = nn.ModuleList(LocalBlock(options) for _ in range(options.blocks))
        self.down = nn.ModuleList(LocalBlock(options, halve=True) for _ in range(options.levels - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(options.levels))
        self.classification = ConvTower(width, width, options.depth - 1)
        self.regression = ConvTower(width, width, options.depth - 1)
        self.logits = _last_conv(width, classes, -math.log(99))  # an event is rare: 1 point in 100
        self.offsets = _last_conv(width, 2, 0.0)
        self.scale = nn.ParameterList(torch.ones(()) for _ in range(options.levels))

    def forward(self, visual: Tensor, audio: Tensor, valid: Tensor) -> list[EventLevel]:
        """From features to events at every point.

        Args:
            visual: (B, T, visual width).
            audio: (B, T, audio width).
            valid: bool (B, T), False on padding.

        Returns:
            The levels, finest first; all classes share the boundaries of a point.
        """
        missing = -valid.shape[1] % 2 ** (self.count - 1)
        valid = F.pad(valid, (0, missing))
        x = F.pad(torch.cat([visual, audio], -1), (0, 0, 0, missing)) * valid[..., None]
        x = self.enter(x, valid)
        if self.positions:
            x = (x + sinusoid(x.shape[1], x.shape[2]).to(x)) * valid[..., None]
        for block in self.stem:
            x, valid = block(x, valid)
        levels = [self._level(0, x, valid)]
        for number, block in enumerate(self.down, 1):
            x, valid = block(x, valid)
            levels.append(self._level(number, x, valid))
        return levels

    def _level(self, number: int, x: Tensor, valid: Tensor) -> EventLevel:
        """Logits (B, N, K) and offsets (B, N, 2) of one level."""
        keep = valid[..., None]
        x = self.norms[number](x) * keep
        logits = self.logits(self.classification(x, valid).transpose(1, 2)).transpose(1, 2) * keep
        offsets = self.offsets(self.regression(x, valid).transpose(1, 2)).transpose(1, 2)
        return EventLevel(logits, (offsets * self.scale[number]).relu() * keep, valid, 2**number, first=0.5)


def _last_conv(width: int, outputs: int, bias: float) -> nn.Conv1d:
    """A convolution over three steps whose bias begins with a value."""
    layer = nn.Conv1d(width, outputs, 3, padding=1)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, bias)
    return layer
