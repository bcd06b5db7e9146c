# SPDX-License-Identifier: Apache-2.0
"""What a caption is written from: the patches and the sound of its step, and the masked region."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.nn.pooling import shrink


@dataclass
class CaptionContext:
    """Context of N captions.

    Attributes:
        memory: Tokens that every word attends to, (N, M, E).
        frame: The picture as one token, (N, E).
        topic: Picture, sound and region as one vector, which is added to every word, (N, E).
    """

    memory: Tensor
    frame: Tensor
    topic: Tensor

    def rows(self, chosen: Tensor) -> "CaptionContext":
        """The context of some of the captions; `chosen` is bool (N,) or int64."""
        return CaptionContext(self.memory[chosen], self.frame[chosen], self.topic[chosen])


class CaptionContextEncoder(nn.Module):
    """Brings patches, sound and region tokens to the width of the text decoder.

    Args:
        width: Width D of the tokens.
        text_width: Width E of the text decoder.
        pooled_grid: Rows and columns that patches are averaged to.
        regions: Whether there is a region token.
    """

    def __init__(self, width: int, text_width: int, pooled_grid: int, *, regions: bool) -> None:
        super().__init__()
        self.pooled_grid = pooled_grid
        self.patches_in = nn.Linear(width, text_width)
        self.audio_in = nn.Linear(width, text_width)
        #: Marks patches, sound and region.
        self.kind = nn.Parameter(torch.randn(3, text_width) * 0.02)
        self.topic = nn.Linear((3 if regions else 2) * text_width, text_width)

    def forward(self, tokens: Tokens, rows: Tensor, region: Tensor | None = None) -> CaptionContext:
        """Context of the steps `rows`, bool (B T,), N of them, with region tokens (N, 1, E) if there are any."""
        maps = rearrange(tokens.patches, "b t (h w) d -> (b t) d h w", h=tokens.grid[0])[rows]
        pooled = shrink(maps, (self.pooled_grid, self.pooled_grid))
        patches = self.patches_in(pooled.flatten(2).transpose(1, 2))
        audio = self.audio_in(tokens.audio.flatten(0, 1)[rows])[:, None]
        parts = [patches + self.kind[0], audio + self.kind[1]]
        if region is not None:
            parts.append(region + self.kind[2])
        topic = self.topic(torch.cat([part.mean(1) for part in parts], -1))
        return CaptionContext(torch.cat(parts, 1), patches.mean(1), topic)
