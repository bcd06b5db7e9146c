# SPDX-License-Identifier: Apache-2.0
"""Masks that help sentences, and sentences that help masks: regions through an image encoder, and their agreement."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.nn.region_crop import cut_out

#: From pictures in [0, 1], (N, 3, H, W), to one vector each, (N, C); differentiable with respect to the pictures.
ImageEncoder = Callable[[Tensor], Tensor]


class MaskCollaboration(nn.Module):
    """What a mask covers, seen by an image encoder: region tokens for the caption, with a gradient to the mask.

    The picture is multiplied with the mask, soft in training so that a gradient passes and cut at 0.5 otherwise; what
    is not covered is black. The encoder itself stays as it is: whoever owns it freezes it, and hands it over in each
    call, so that it is no part of this module.

    Args:
        encoded: Width C of the encoder's vectors.
        width: Width D of the tokens.
        side: Pixels of the square that the encoder is shown; None to show pictures as they are.

    Source:
        RA-SSU (arXiv 2603.09809), Mask Collaboration Module, section IV-B.4 and Fig. 7.
    """

    def __init__(self, encoded: int, width: int, side: int | None = 224) -> None:
        super().__init__()
        self.side = side
        self.out, self.norm = nn.Linear(encoded, width), nn.LayerNorm(width)

    def forward(
        self, pictures: Tensor, masks: Tensor, encoder: ImageEncoder, hard: bool | None = None
    ) -> tuple[Tensor, Tensor]:
        """Look at what masks cover.

        Args:
            pictures: uint8, or float in [0, 1], (N, 3, H, W).
            masks: In [0, 1], (N, h, w); of another size they are brought to the pictures'.
            encoder: Of pictures.
            hard: Cut masks at 0.5; where None, outside of training alone.

        Returns:
            Region tokens (N, 1, D), and what the encoder saw, (N, C), for `region_consistency`.

        Raises:
            ValueError: If there are not as many masks as pictures.
        """
        if len(pictures) != len(masks):
            raise ValueError(f"{len(masks)} masks for {len(pictures)} pictures; give one each.")
        seen = encoder(cut_out(pictures, masks, not self.training if hard is None else hard, self.side))
        return self.norm(self.out(seen))[:, None], seen


class CaptionProjection(nn.Module):
    """What a caption says as one vector in the space of regions: the mean of its states, projected.

    Args:
        width: Width D of the states.
        encoded: Width C of the encoder's vectors.
    """

    def __init__(self, width: int, encoded: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, encoded)

    def forward(self, states: Tensor, said: Tensor) -> Tensor:
        """Of states (N, L, D), those where `said`, bool (N, L), is True: (N, C)."""
        weights = said.to(states.dtype)
        mean = torch.einsum("nld,nl->nd", states, weights) / weights.sum(1, keepdim=True).clamp(min=1)
        found: Tensor = self.out(mean)
        return found


def region_consistency(regions: Tensor, captions: Tensor) -> Tensor:
    """Distance of regions and captions as unit vectors, (N, C) each, not reduced: (N,), from 0 to 2.

    The gradient reaches both. Where they are the same it is 0, and finite.

    Source:
        RA-SSU (arXiv 2603.09809), Eq. 5; the paper leaves open that both have unit length.
    """
    apart = F.normalize(regions.float(), dim=-1) - F.normalize(captions.float(), dim=-1)
    return (apart.square().sum(-1) + 1e-12).sqrt()
