# SPDX-License-Identifier: Apache-2.0
"""Attentive pooling over steps and modalities: clip labels supervise predictions per step and modality."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avkit.batch import exportable


@exportable
@dataclass
class ParsingOutput:
    """Probabilities of a parsing network; those of padded steps are meaningless.

    Attributes:
        steps: Of each class in each step by audio and by vision, (B, T, 2, K).
        audio: Of each class in the clip by audio, (B, K).
        visual: By vision, (B, K).
        clip: By both together, (B, K).
    """

    steps: Tensor
    audio: Tensor
    visual: Tensor
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
        """From both modalities, (B, T, D) each, and which steps are valid, bool (B, T), all where None."""
        features = torch.stack([first, second], 2)
        steps = self.classes(features).sigmoid()
        time = self.time(features)
        if valid is not None:
            time = time.masked_fill(~valid[:, :, None, None], -torch.inf)
        return pool_streams(steps, time, self.stream(features))


def pool_streams(steps: Tensor, time: Tensor, stream: Tensor) -> ParsingOutput:
    """Pool probabilities (B, T, 2, K) over steps and over modalities, with attention logits of the same shape."""
    weighted = time.softmax(1) * steps
    audio, visual = weighted.sum(1).unbind(1)
    return ParsingOutput(steps, audio, visual, (stream.softmax(2) * weighted).sum((1, 2)))
