# SPDX-License-Identifier: Apache-2.0
"""Mask collaboration and regional consistency: region tokens for captions, and the distance of regions to captions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MaskCollaboration(nn.Module):
    """Brings the embedding of a masked region to a token for the caption.

    The mask is soft in training, so that the caption's gradient reaches it, and cut at 0.5 otherwise: see
    `RegionEmbedding`.

    Args:
        encoded: Width C of the embeddings.
        width: Width D of the tokens.

    Source:
        RA-SSU (arXiv 2603.09809), Mask Collaboration Module, section IV-B.4 and Fig. 7.
    """

    def __init__(self, encoded: int, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(encoded, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, regions: Tensor) -> Tensor:
        """Tokens (N, 1, D) of region embeddings (N, C)."""
        tokens: Tensor = self.norm(self.out(regions))
        return tokens[:, None]


class CaptionProjection(nn.Module):
    """Embeds a caption in the space of regions: the mean of the text decoder's states, projected.

    Args:
        width: Width D of the states.
        encoded: Width C of the image encoder's vectors.
    """

    def __init__(self, width: int, encoded: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, encoded)

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """From states (N, L, D), of which `valid`, bool (N, L), are no padding, to (N, C)."""
        weights = valid.to(states.dtype)
        mean = torch.einsum("nld,nl->nd", states, weights) / weights.sum(1, keepdim=True).clamp(min=1)
        embeddings: Tensor = self.out(mean)
        return embeddings


def region_consistency(regions: Tensor, captions: Tensor) -> Tensor:
    """Distance of regions and captions as unit vectors, (N, C) each, not reduced: (N,), from 0 to 2.

    The gradient reaches both, and is finite where they are equal.

    Source:
        RA-SSU (arXiv 2603.09809), Eq. 5; the paper leaves open that both have unit length.
    """
    difference = F.normalize(regions.float(), dim=-1) - F.normalize(captions.float(), dim=-1)
    return (difference.square().sum(-1) + 1e-12).sqrt()
