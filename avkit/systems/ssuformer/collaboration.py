# SPDX-License-Identifier: Apache-2.0
"""Mask collaboration and regional consistency: embeddings of masked regions, and their distance to captions."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.nn.region_crop import cut_out

#: From pictures in [0, 1], (N, 3, H, W), to one vector each, (N, C); differentiable with respect to the pictures.
ImageEncoder = Callable[[Tensor], Tensor]


class MaskCollaboration(nn.Module):
    """Embeds what a mask covers, as a token for the caption; the caption's gradient reaches the mask.

    The picture is multiplied with the mask, which is soft in training so that a gradient passes, and cut at 0.5
    otherwise; what is not covered is black. The image encoder is frozen by its owner and given in each call, so that
    it is no part of this module.

    Args:
        encoded: Width C of the encoder's vectors.
        width: Width D of the tokens.
        side: Pixels of the square that the encoder reads; None for pictures of their own size.

    Source:
        RA-SSU (arXiv 2603.09809), Mask Collaboration Module, section IV-B.4 and Fig. 7.
    """

    def __init__(self, encoded: int, width: int, side: int | None = 224) -> None:
        super().__init__()
        self.side = side
        self.out = nn.Linear(encoded, width)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, pictures: Tensor, masks: Tensor, encoder: ImageEncoder, hard: bool | None = None
    ) -> tuple[Tensor, Tensor]:
        """Embed masked regions.

        Args:
            pictures: uint8, or float in [0, 1], (N, 3, H, W).
            masks: In [0, 1], (N, h, w); resized to the pictures' size if it differs.
            encoder: The image encoder.
            hard: Cut masks at 0.5; None does so outside of training alone.

        Returns:
            Region tokens (N, 1, D), and embeddings of the regions, (N, C), for `region_consistency`.

        Raises:
            ValueError: If there are not as many masks as pictures.
        """
        if len(pictures) != len(masks):
            raise ValueError(f"{len(masks)} masks for {len(pictures)} pictures; give one each.")
        if hard is None:
            hard = not self.training
        embeddings = encoder(cut_out(pictures, masks, hard, self.side))
        return self.norm(self.out(embeddings))[:, None], embeddings


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
