# SPDX-License-Identifier: Apache-2.0
"""UniAV's language-aware classification: a point is of a class as far as its feature is that of the class's words."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.nn.masked_conv import MaskedConv

#: Temperature at first, as in CLIP.
_TEMPERATURE = 0.07


class LanguageClassifier(nn.Module):
    """Cosines of points and classes, both projected to one space, over a learned temperature.

    Args:
        channels: Width C of the features of points, and of the space.
        text: Width of the text features of classes.

    Source:
        Geng et al., UniAV, language-aware classification head; ttgeng233/UniAV at commit dadff1bb3a85,
        `libs/modeling/multimodal_archs_multi_task.py`.
    """

    def __init__(self, channels: int, text: int) -> None:
        super().__init__()
        self.text = nn.Linear(text, channels)
        nn.init.xavier_uniform_(self.text.weight)
        nn.init.zeros_(self.text.bias)
        self.point = MaskedConv(channels, channels, bias=0.0)
        #: Logarithm of what cosines are multiplied by.
        self.scale = nn.Parameter(torch.tensor(-math.log(_TEMPERATURE)))

    def forward(self, x: Tensor, valid: Tensor, prompts: Tensor) -> Tensor:
        """From points (B, T, C), bool (B, T) and text features (K, text) to logits (B, T, K), 0 where padded."""
        classes = F.normalize(self.text(prompts), dim=-1)
        points = F.normalize(self.point(x, valid), dim=-1)
        logits: Tensor = self.scale.exp() * points @ classes.T
        return logits * valid[..., None]
