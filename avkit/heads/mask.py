# SPDX-License-Identifier: Apache-2.0
"""Masks of what sounds, by queries made of sound."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.nn.decoder_layer import DecoderLayer, mlp


@dataclass
class MaskOutput:
    """What the head says.

    Attributes:
        maps: Logits (B, T, 1 + classes, h, w), the mask first, then background and classes.
        heard: Logits (B, T, K) of the classes by sound alone, or None without classes.
    """

    maps: Tensor
    heard: Tensor | None = None


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
    both are matches with the class's name, so patches, sounds and words of one meaning come to lie close. The mask is
    then the odds of any class against the background, plus a map of its own.

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
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.audio = nn.Linear(width, width)
        self.layers = nn.ModuleList(DecoderLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.embed = mlp(width, width, channels)
        self.heard = nn.Linear(width, min(2, outputs))
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in ("audio", "patches")})
        if classes:  # begin as sure of the background as there is of it: the mask is then nearly empty, as most are
            nn.init.constant_(self.heard.bias[1], 5.0)
            self.rare = nn.Parameter(torch.tensor(-2.0))
        self.fold = nn.ModuleList(nn.Conv2d(4 * w, channels // 2, 1) for w in fine)
        self.combine = nn.Sequential(
            nn.Conv2d(queries + channels + len(fine) * (channels // 2), channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, 4 * outputs, 1),
            nn.PixelShuffle(2),
        )
        self._start_smooth(outputs)

    def forward(self, tokens: Tokens) -> MaskOutput:
        """Maps at the finest map's size; without a pyramid they have twice the patches' grid."""
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
        audio = self.norms["audio"](tokens.audio)
        heard = self.heard(audio)[..., None, None]
        if maps.shape[2] == 1:
            return MaskOutput(maps + heard)
        mask, background = (maps[:, :, :2] + heard).split(1, dim=2)
        seen, named = self._by_name(tokens, audio, maps.shape[-2:])
        classes = maps[:, :, 2:] + seen + named[..., None, None]
        any_class = classes.logsumexp(2, keepdim=True) - background
        return MaskOutput(torch.cat([mask + any_class, background, classes], dim=2), named + self.rare)

    def _by_name(self, tokens: Tokens, audio: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """How well each patch matches each class's name, (B, T, K, h, w), and how well the sound does, (B, T, K)."""
        if tokens.names is None:
            raise ValueError("A mask head with classes needs their names: tokens.names is None.")
        names = tokens.names.T / tokens.names.shape[1] ** 0.5
        seen = rearrange(self.norms["patches"](tokens.patches) @ names, "b t (h w) k -> (b t) k h w", h=tokens.grid[0])
        seen = F.interpolate(seen, size, mode="bilinear", align_corners=False)
        return seen.unflatten(0, audio.shape[:2]), audio @ names

    def _start_smooth(self, outputs: int) -> None:
        """Begin with the four pixels of each cell alike, so that no checkerboard has to be unlearnt."""
        last = self.combine[2]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        with torch.no_grad():
            last.weight.copy_(last.weight[:outputs].repeat_interleave(4, 0))
            last.bias.copy_(last.bias[:outputs].repeat_interleave(4, 0))


def _fold(fine: Tensor, coarse: Tensor) -> Tensor:
    """The finest map with each 2x2 cell of the coarser map's size folded into channels."""
    size = (2 * coarse.shape[-2], 2 * coarse.shape[-1])
    if fine.shape[-2:] != size:  # odd sizes, where halving rounds up
        fine = F.interpolate(fine, size, mode="bilinear", align_corners=False)
    return F.pixel_unshuffle(fine, 2)
