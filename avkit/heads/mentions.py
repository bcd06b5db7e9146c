# SPDX-License-Identifier: Apache-2.0
"""Which words a sentence about a step has, before it is written."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.heads.caption import mention_classifier, mention_logits


class Mentions(nn.Module):
    """Log-odds of each word's being mentioned: unless neither the step as a whole nor any patch supports it.

    Names of things are learned from this much sooner than from one next word after the other.

    Args:
        width: Width D of the tokens.
        words: Size of the vocabulary of words.
    """

    def __init__(self, width: int, words: int) -> None:
        super().__init__()
        self.whole = mention_classifier(2 * width, words)
        self.each = nn.Linear(width, words)
        nn.init.constant_(self.each.bias, -4.0)

    def forward(self, audio: Tensor, frame: Tensor, patches: Tensor) -> Tensor:
        """From audio and frame (..., D) and patches (..., P, D) to (..., words)."""
        support = F.softplus(self.whole(torch.cat([audio, frame], -1)))
        support = support + F.softplus(self.each(patches).amax(-2))
        return mention_logits(support)
