# SPDX-License-Identifier: Apache-2.0
"""Dense events: a feature pyramid over time, with classes and boundaries at every point of every level."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.heads.segment import ClassSteps
from avkit.nn.event_levels import EventLevel


class MaskedConvBlock(nn.Module):
    """Convolution over time, norm over channels and ReLU; padding is zero before and after, so it changes nothing.

    Args:
        width: Channels in and out.
        stride: 1 or 2.
        inputs: Channels in, where they differ.
    """

    def __init__(self, width: int, stride: int = 1, inputs: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs or width, width, 3, stride, 1)
        self.norm = nn.LayerNorm(width)
        self.stride = stride

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """From (B, N, D) and bool (B, N) to both at every `stride`-th point."""
        y = self.conv(x.transpose(1, 2)).transpose(1, 2)
        kept = valid[:, :: self.stride]
        return self.norm(y).relu() * kept[..., None], kept


class PyramidHead(nn.Module):
    """Events of every class, each found at the level that suits its length.

    What is heard and seen at each step, averaged over the steps that a point stands for, adds to the logits of classes:
    so what other tasks teach about classes serves from the start. Every level halves the number of points; two towers,
    the same for all levels, say which classes an event at the point is of and how far it reaches. Time and memory grow
    with the number of steps. The general form of ActionFormer, UnAV and CCNet, whose own necks are systems of their
    own.

    Args:
        width: Width D of the tokens.
        classes: Number of classes K.
        levels: Number of levels.
        channels: Width of the pyramid.
    """

    def __init__(self, width: int, classes: int, levels: int = 5, channels: int = 96) -> None:
        super().__init__()
        self.levels, self.number = levels, classes
        self.classes = ClassSteps(width, classes)
        self.start = MaskedConvBlock(channels, inputs=2 * (width + classes))
        self.deepen = MaskedConvBlock(channels)
        self.down = nn.ModuleList(MaskedConvBlock(channels, 2) for _ in range(levels - 1))
        self.towers = nn.ModuleDict({name: MaskedConvBlock(channels) for name in ("what", "where")})
        self.what = nn.Conv1d(channels, classes, 3, padding=1)
        self.where = nn.Conv1d(channels, 2 * classes, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(levels))
        assert self.what.bias is not None
        nn.init.constant_(self.what.bias, -1.0)  # with the evidence, an event is rare at a point: 1 in 100

    def forward(self, tokens: Tokens) -> list[EventLevel]:
        """The levels, finest first."""
        logits, both = self.classes(tokens)
        x, valid = torch.cat([both, logits.tanh()], -1).flatten(2) * tokens.valid[..., None], tokens.valid
        evidence = F.logsigmoid(logits).sum(2).transpose(1, 2)
        x, valid = self.start(x, valid)
        x = x + self.deepen(x, valid)[0]
        found = []
        for number in range(self.levels):
            if number:
                x, valid = self.down[number - 1](x, valid)
            what, where = (self.towers[name](x, valid)[0].transpose(1, 2) for name in ("what", "where"))
            reach = F.softplus(self.where(where).transpose(1, 2) * self.scale[number])
            around = mean_over(evidence, tokens.valid, 2**number)
            found.append(
                EventLevel(
                    (self.what(what) + around).transpose(1, 2), reach.unflatten(2, (self.number, 2)), valid, 2**number
                )
            )
        return found


def mean_over(x: Tensor, valid: Tensor, stride: int) -> Tensor:
    """Means of (B, C, T) over `stride` steps each, (B, C, ceil(T / stride)), of valid steps (B, T) alone."""
    keep = valid[:, None].to(x.dtype)
    both = F.avg_pool1d(torch.cat([x * keep, keep], 1), stride, ceil_mode=True, count_include_pad=False)
    return both[:, :-1] / both[:, -1:].clamp(min=1 / stride)
