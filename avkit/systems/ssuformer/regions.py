# SPDX-License-Identifier: Apache-2.0
"""Embeddings of masked regions: masked pictures through a frozen image encoder, or the pooled features of the model."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.encoders.base import VisualEncoder
from avkit.heads.base import HeadInputs
from avkit.nn.pooling import shrink
from avkit.nn.region_crop import cut_out

#: Colour channels, and numbers of `region_geometry`.
_COLOURS = 3
_GEOMETRY = 5


class RegionEmbedding(nn.Module, ABC):
    """Embeds what masks cover; the gradient reaches soft masks.

    Attributes:
        width: Width C of the embeddings.
    """

    width: int

    @abstractmethod
    def forward(self, tokens: Tokens, masks: Tensor, rows: Tensor, *, hard: bool) -> Tensor:
        """Embed the regions of some steps.

        Args:
            tokens: Tokens of the batch.
            masks: In [0, 1], (B, T, h, w).
            rows: The steps, bool (B T,), N of them.
            hard: Cut masks at 0.5.

        Returns:
            (N, C).
        """


class ImageRegions(RegionEmbedding):
    """Masked pictures, black where the mask does not cover them, through a frozen image encoder.

    Args:
        encoder: The image encoder; frozen here.
        group: Name of the group of options on the command line, for messages.

    Source:
        RA-SSU (arXiv 2603.09809), section IV-B.4 and Fig. 7, with CLIP's image encoder.
    """

    def __init__(self, encoder: VisualEncoder, group: str = "system") -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        self.group = group
        self.width = encoder.width

    @property
    def side(self) -> int | None:
        """Pixels of the square that the encoder reads; None for pictures of their own size."""
        return None if self.encoder.input_size is None else self.encoder.input_size[0]

    def forward(self, tokens: Tokens, masks: Tensor, rows: Tensor, *, hard: bool) -> Tensor:
        """Embed the regions of some steps, see `RegionEmbedding`.

        Raises:
            ValueError: If there are no pictures.
        """
        if tokens.picture is None:
            raise ValueError(
                "Regions are cut out of pictures, and the batch has stored features instead. Train on pictures, or "
                f"set {self.group}.mcm and {self.group}.rcc to false."
            )
        return self.embed(tokens.picture.flatten(0, 1)[rows], masks.flatten(0, 1)[rows], hard=hard)

    def embed(self, pictures: Tensor, masks: Tensor, *, hard: bool) -> Tensor:
        """Embed regions of pictures (N, 3, H, W), uint8 or float in [0, 1], under masks (N, h, w) in [0, 1].

        Raises:
            ValueError: If there are not as many masks as pictures.
        """
        if len(pictures) != len(masks):
            raise ValueError(f"{len(masks)} masks for {len(pictures)} pictures; give one each.")
        return self.encoder(cut_out(pictures, masks, hard, self.side)).frame

    def train(self, mode: bool = True) -> "ImageRegions":
        """Set training mode; the frozen encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self


class PooledRegions(RegionEmbedding):
    """Means of the model's own features under the mask, on every level, with mean colour, position and size.

    Args:
        inputs: Width of the tokens, and pyramid.

    Source:
        Ours, in place of a pretrained image encoder where there is none; pooling dense features under masks follows
        MaskCLIP (Zhou et al., ECCV 2022).
    """

    def __init__(self, inputs: HeadInputs) -> None:
        super().__init__()
        self.width = sum(inputs.pyramid_widths) + inputs.width + _COLOURS + _GEOMETRY

    def forward(self, tokens: Tokens, masks: Tensor, rows: Tensor, *, hard: bool) -> Tensor:
        """Embed the regions of some steps, see `RegionEmbedding`."""
        weights = masks.flatten(0, 1)[rows]
        if hard:
            weights = (weights > 0.5).to(masks.dtype)
        patches = tokens.patches.flatten(0, 1)[rows].transpose(1, 2).unflatten(2, tokens.grid)
        levels = [level.flatten(0, 1)[rows] for level in tokens.pyramid]
        parts = [masked_mean(level, weights) for level in [*levels, patches]]
        if tokens.picture is None:
            parts.append(weights.new_zeros(len(weights), _COLOURS))
        else:
            colours = tokens.picture.flatten(0, 1)[rows].to(weights.dtype) / 127.5 - 1
            parts.append(masked_mean(colours, weights))
        parts.append(region_geometry(weights))
        return torch.cat(parts, -1)


def masked_mean(level: Tensor, masks: Tensor) -> Tensor:
    """Mean (N, C) of maps (N, C, H, W) under masks (N, h, w) in [0, 1], on the coarser grid; 0 for empty masks."""
    level = shrink(level, masks.shape[-2:])
    weights = shrink(masks[:, None], level.shape[-2:])
    total = (level * weights).sum((2, 3))
    return total / (weights.sum((2, 3)) + 1e-2)


def region_geometry(masks: Tensor) -> Tensor:
    """Center (x, y), spread (x, y) and square root of the area of masks (N, h, w), in picture sizes, (N, 5).

    The center is relative to the middle of the picture, and 0 for an empty mask.
    """
    height, width = masks.shape[-2:]
    area = masks.mean((1, 2))
    x = (torch.arange(width, device=masks.device) + 0.5) / width - 0.5
    y = (torch.arange(height, device=masks.device) + 0.5) / height - 0.5
    numbers = []
    spreads = []
    for profile, position in ((masks.mean(1), x), (masks.mean(2), y)):
        center = (profile * position).mean(1) / (area + 1e-4)
        second = (profile * position.square()).mean(1) / (area + 1e-4)
        numbers.append(center)
        spreads.append((second - center.square()).clamp(min=1e-6).sqrt())
    return torch.stack([*numbers, *spreads, (area + 1e-6).sqrt()], -1)
