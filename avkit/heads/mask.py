# SPDX-License-Identifier: Apache-2.0
"""Masks of what sounds, by queries made of sound."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.heads.layers import DecoderLayer, mlp


class PixelDecoder(nn.Module):
    """Feature pyramid: from the patches up to the finest map given, adding each level on the way.

    Args:
        width: Width of the patches.
        pyramid_widths: Widths of the maps, finest first.
        channels: Width of the result.
    """

    def __init__(self, width: int, pyramid_widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.start = nn.Conv2d(width, channels, 1)
        self.lateral = nn.ModuleList(nn.Conv2d(w, channels, 1) for w in pyramid_widths)
        self.smooth = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(8, channels), nn.ReLU(inplace=True))
            for _ in pyramid_widths
        )

    def forward(self, patches: Tensor, pyramid: Sequence[Tensor]) -> Tensor:
        """Patches as a map (N, D, h, w) and pyramid maps (N, C, h, w), finest first, to (N, channels, H, W)."""
        x = self.start(patches)
        for level in reversed(range(len(self.lateral))):
            fine = pyramid[level]
            x = F.interpolate(x, fine.shape[-2:], mode="bilinear", align_corners=False)
            x = self.smooth[level](x + self.lateral[level](fine))
        return x


class MaskHead(nn.Module):
    """Audio-queried mask decoder in MaskFormer's manner.

    Learned queries plus the sound of the step read the picture's patches; their dot products with pixel embeddings are
    elementary masks, which a small convolution combines into one map per output. All of it works one level below the
    finest map, which enters folded into channels and is unfolded at the end: a quarter of the pixels, the same detail.

    With classes, what is seen at a pixel and what is heard in the step are two opinions on its class, whose logits add;
    the mask is then the odds of any class against the background, plus a map of its own.

    Args:
        width: Width D of the tokens.
        pyramid_widths: Widths of the pyramid's maps, finest first.
        classes: Number of class maps, background first; 0 for the mask alone.
        channels: Width of the pixel embeddings, a multiple of 8.
        queries: Number of queries N.
        layers: Decoder layers.
        heads: Attention heads.

    Source:
        SSUFormer's mask decoder and AVSegFormer (vvvb-github/AVSegFormer, commit 7083cb6586d1), plain form.
    """

    def __init__(
        self,
        width: int,
        pyramid_widths: Sequence[int],
        classes: int = 0,
        channels: int = 32,
        queries: int = 8,
        layers: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        outputs = 1 + classes
        fine, coarse = list(pyramid_widths[:1]), list(pyramid_widths[1:])
        self.pixels = PixelDecoder(width, coarse, channels)
        self.queries = nn.Parameter(torch.randn(queries, width) * 0.02)
        self.audio = nn.Linear(width, width)
        self.layers = nn.ModuleList(DecoderLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.embed = mlp(width, width, channels)
        heard = nn.Linear(width, outputs)
        self.heard = nn.Sequential(nn.LayerNorm(width), heard)
        if classes:  # begin as sure of the background as there is of it: the mask is then nearly empty, as most are
            nn.init.constant_(heard.bias[1], 5.0)
        self.fold = nn.ModuleList(nn.Conv2d(4 * w, channels // 2, 1) for w in fine)
        self.combine = nn.Sequential(
            nn.Conv2d(queries + channels + len(fine) * (channels // 2), channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, 4 * outputs, 1),
            nn.PixelShuffle(2),
        )

    def forward(self, tokens: Tokens) -> Tensor:
        """Logits (B, T, 1 + classes, h, w), the mask first, at the finest map's size.

        Without a pyramid they have twice the patches' grid.
        """
        batch = len(tokens.audio)
        patches = rearrange(tokens.patches, "b t p d -> (b t) p d")
        audio = rearrange(self.audio(tokens.audio), "b t d -> (b t) 1 d")
        x = self.queries + audio
        for layer in self.layers:
            x = layer(x, patches)
        height, _ = tokens.grid
        pyramid = [p.flatten(0, 1) for p in tokens.pyramid]
        pixels = self.pixels(rearrange(patches, "n (h w) d -> n d h w", h=height), pyramid[1:])
        masks = torch.einsum("nqc,nchw->nqhw", self.embed(self.norm(x)), pixels) / pixels.shape[1] ** 0.5
        fine = [fold(_fold(m, pixels)) for fold, m in zip(self.fold, pyramid[:1], strict=True)]
        maps = rearrange(self.combine(torch.cat([masks, pixels, *fine], dim=1)), "(b t) k h w -> b t k h w", b=batch)
        maps = maps + self.heard(tokens.audio)[..., None, None]
        if maps.shape[2] == 1:
            return maps
        any_class = maps[:, :, 2:].logsumexp(2, keepdim=True) - maps[:, :, 1:2]
        return torch.cat([maps[:, :, :1] + any_class, maps[:, :, 1:]], dim=2)


def _fold(fine: Tensor, coarse: Tensor) -> Tensor:
    """The finest map with each 2x2 cell of the coarser map's size folded into channels."""
    size = (2 * coarse.shape[-2], 2 * coarse.shape[-1])
    if fine.shape[-2:] != size:  # odd sizes, where halving rounds up
        fine = F.interpolate(fine, size, mode="bilinear", align_corners=False)
    return F.pixel_unshuffle(fine, 2)
