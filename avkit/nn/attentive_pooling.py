# SPDX-License-Identifier: Apache-2.0
"""Attentive pooling over steps and modalities: from labels of a clip to what happens when, and in which."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class ParsingOutput:
    """What a parsing head says; padded steps hold no meaning.

    Attributes:
        steps: Probability of each class in each step by sound and by sight, (B, T, 2, K).
        heard: Of each class in the clip by sound, (B, K).
        seen: By sight.
        clip: By both together.
    """

    steps: Tensor
    heard: Tensor
    seen: Tensor
    clip: Tensor


class AttentivePooling(nn.Module):
    """Probabilities of each step and modality, and what attention over both makes of them (MMIL pooling).

    Args:
        width: Width D of the features.
        classes: Number of classes K.

    Source:
        HAN (YapengTian/AVVP-ECCV20 at commit fde56118f2c2), which MM-Pyramid takes over.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classes, self.time, self.stream = (nn.Linear(width, classes) for _ in range(3))

    def forward(self, first: Tensor, second: Tensor, valid: Tensor | None = None) -> ParsingOutput:
        """From both modalities (B, T, D), and the steps that count, bool (B, T): all where None."""
        x = torch.stack([first, second], 2)
        steps, time = self.classes(x).sigmoid(), self.time(x)
        if valid is not None:
            time = time.masked_fill(~valid[:, :, None, None], -torch.inf)
        return pool_streams(steps, time, self.stream(x))


def pool_streams(steps: Tensor, time: Tensor, stream: Tensor) -> ParsingOutput:
    """Pool probabilities (B, T, 2, K) by scores of the same shape over steps, and over the two modalities."""
    found = time.softmax(1) * steps
    heard, seen = found.sum(1).unbind(1)
    return ParsingOutput(steps, heard, seen, (stream.softmax(2) * found).sum((1, 2)))
