# SPDX-License-Identifier: Apache-2.0
"""Class logits and boundaries of events at every point of a pyramid, as UnAV and CCNet decode them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from avkit.nn.event_levels import EventLevel
from avkit.nn.event_options import EventDecoderOptions
from avkit.nn.masked_conv import ConvStages, MaskedConv


class EventDecoder(nn.Module):
    """Two towers of convolutions, shared by all levels, and a factor per level for the boundaries.

    Args:
        width: Width of the features.
        classes: Number of classes K.
        options: `levels`, `channels`, `depth` and `aware` are read.
        logits: What classifies the points: from features (B, T, channels) and bool (B, T), and what else the decoder is
            given, to (B, T, K); a convolution where None.

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/modeling/multimodal_meta_archs.py`.
    """

    def __init__(self, width: int, classes: int, options: EventDecoderOptions, logits: nn.Module | None = None) -> None:
        super().__init__()
        channels = options.channels
        self.aware = options.aware
        self.classification = ConvStages(width, channels, options.depth - 1)
        self.regression = ConvStages(width, channels, options.depth - 1)
        if logits is None:
            logits = MaskedConv(channels, classes, bias=-math.log(99))  # an event is rare: 1 point in 100
        self.logits = logits
        self.offsets = MaskedConv(channels, 2 * classes if options.aware else 2, bias=0.0)
        self.scale = nn.ParameterList(torch.ones(()) for _ in range(options.levels))

    def forward(self, levels: Sequence[Tensor], valid: Sequence[Tensor], *prompts: Tensor) -> list[EventLevel]:
        """From levels (B, T_l, D) and bool (B, T_l), finest first; padded steps get logits 0.

        Points are at multiples of the stride: the first point, at all levels, is the middle of the first step. What
        classifies the points reads `prompts` beside them.
        """
        outputs = []
        for number, (x, keep) in enumerate(zip(levels, valid, strict=True)):
            logits = self.logits(self.classification(x, keep), keep, *prompts)
            offsets = (self.offsets(self.regression(x, keep), keep) * self.scale[number]).relu()
            if self.aware:
                offsets = offsets.unflatten(2, (-1, 2))
            outputs.append(EventLevel(logits, offsets, keep, 2**number, first=0.5))
        return outputs
