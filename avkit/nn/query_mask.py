# SPDX-License-Identifier: Apache-2.0
"""Masks by queries made of sound, over a pyramid that deformable attention has mixed: AVSegFormer's head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from avkit.nn.deformable_attention import DeformableLayer, cell_codes, cell_places
from avkit.nn.recompute import Recomputable
from avkit.nn.upsampled_conv import convolve_enlarged


@dataclass
class QueryMasks:
    """What the head makes.

    Attributes:
        logits: (N, K, H, W), `scale` times the size of the finest level.
        features: Mask features (N, D, h, w), on the finest level.
        queries: (N, Q, D), after the last decoder layer.
        memory: Tokens of the mixed levels, (N, S, D).
    """

    logits: Tensor
    features: Tensor
    queries: Tensor
    memory: Tensor


class SoundLayer(nn.Module):
    """Queries among themselves, then towards the one token of the sound; post-norm.

    A softmax over one token is 1, so that attention is the token's projection, added to every query.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, dropout, bias=False, batch_first=True)
        self.cross_attn = nn.MultiheadAttention(width, heads, dropout, bias=False, batch_first=True)
        self.ffn = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, query: Tensor, sound: Tensor) -> Tensor:
        """Queries (N, Q, D) and sound (N, 1, D) to queries."""
        query = self.norm1(query + self.self_attn(query, query, query, need_weights=False)[0])
        value = F.linear(sound, self.cross_attn.in_proj_weight[2 * sound.shape[-1] :])
        query = self.norm2(query + self.cross_attn.out_proj(value))
        return self.norm3(query + self.ffn(query))


class QueryLayer(nn.Module):
    """Queries among themselves, then towards all tokens of the levels; post-norm."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.cross_attn = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(dropout)

    def forward(self, query: Tensor, memory: Tensor) -> Tensor:
        """Queries (N, Q, D) and memory (N, S, D) to queries."""
        query = self.norm1(query + self.drop(self.self_attn(query, query, query, need_weights=False)[0]))
        query = self.norm2(query + self.drop(self.cross_attn(query, memory, memory, need_weights=False)[0]))
        return self.norm3(query + self.drop(self.linear2(self.drop(F.gelu(self.linear1(query))))))


class ChannelMixer(nn.Module):
    """Scales the channels of a map by what the sound finds in it: `sigmoid(attention(sound, pixels))`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.kv_proj = nn.Linear(width, width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, maps: Tensor, sound: Tensor) -> Tensor:
        """Maps (N, D, h, w) and sound (N, 1, D) to maps."""
        q = self.q_proj(sound).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        pixels = self.kv_proj(maps.flatten(2).transpose(1, 2))
        k, v = pixels.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return maps * self.proj(found).sigmoid().transpose(1, 2)[..., None]


class PyramidMixer(nn.Module, Recomputable):
    """Pixel decoder: all levels but the finest mixed by deformable attention, then added to the finest.

    Args:
        widths: Channels of the levels, finest first; two or more.
        width: Width D inside.
        layers: Deformable layers.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        dropout: In training.
        recompute: Keep nothing inside of layers for the backward pass.
    """

    def __init__(
        self,
        widths: Sequence[int],
        width: int = 256,
        layers: int = 6,
        heads: int = 8,
        inner: int = 2048,
        dropout: float = 0.1,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.recompute = recompute
        if len(widths) < 2:
            raise ValueError(f"A pyramid of {len(widths)} level cannot be mixed; choose an encoder with two or more.")
        groups = 32 if width % 32 == 0 else 8

        def norm() -> nn.Module:
            return nn.GroupNorm(groups, width)

        self.in_proj = nn.ModuleList(nn.Sequential(nn.Conv2d(c, width, 1), norm()) for c in widths)
        self.level_embed = nn.Parameter(torch.randn(len(widths) - 1, width))
        self.layers = nn.ModuleList(
            DeformableLayer(width, len(widths) - 1, heads, inner=inner, dropout=dropout) for _ in range(layers)
        )
        self.lateral_conv = nn.Sequential(nn.Conv2d(width, width, 1), norm())
        self.out_conv = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), norm(), nn.ReLU(inplace=True))

    def _run(self, layer: nn.Module, *given: object) -> Tensor:
        if self.recompute and self.training:
            again: Tensor = checkpoint(layer, *given, use_reentrant=False)
            return again
        made: Tensor = layer(*given)
        return made

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps (N, C, h, w), finest first, to the finest with all of them in it, (N, D, h, w), and tokens (N, S, D)."""
        fine, *coarse = (proj(x) for proj, x in zip(self.in_proj, maps, strict=True))
        sizes = [(x.shape[2], x.shape[3]) for x in coarse]
        x = torch.cat([m.flatten(2).transpose(1, 2) for m in coarse], 1)
        codes = cell_codes(sizes, x.shape[-1], x.device)
        code = torch.cat([c + e for c, e in zip(codes, self.level_embed, strict=True)])
        places = cell_places(sizes, x.device)
        for layer in self.layers:
            x = self._run(layer, x, code, places, sizes)
        first = x[:, : sizes[0][0] * sizes[0][1]].transpose(1, 2).unflatten(-1, sizes[0])
        first = F.interpolate(first, fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.out_conv(self.lateral_conv(fine) + first), x


class QueryMaskDecoder(nn.Module, Recomputable):
    """MaskFormer-style masks: queries made of sound read a mixed pyramid and are matched with every pixel.

    Args:
        widths: Channels of the pyramid's levels, finest first.
        width: Width D inside.
        outputs: Masks K.
        queries: Queries Q.
        layers: Layers of pixel decoder and of query decoder, each.
        sound_layers: Layers that make queries of sound.
        heads: Attention heads.
        inner: Width of the feed-forward layers, and of the layers that combine the queries' masks.
        sound_inner: Width of the feed-forward layers of those that make queries.
        outer: Channels at the level's size and at the picture's, before the mask.
        scale: Cells of the masks per cell of the finest level, on a side; 4 for maps of stride 4 gives pixels.
        dropout: In training.
        mixed: Scale the mask features' channels by sound.
        recompute: Keep little for the backward pass and compute it again there: less memory, more time.

    Source:
        vvvb-github/AVSegFormer at commit 7083cb6586d1, `model/head/AVSegHead.py`; what never reaches its output
        (`fpn`, `attn_fc`) is left out. SSUFormer's mask decoder follows it.
    """

    def __init__(
        self,
        widths: Sequence[int],
        width: int = 256,
        outputs: int = 1,
        queries: int = 300,
        layers: int = 6,
        sound_layers: int = 6,
        heads: int = 8,
        inner: int = 2048,
        sound_inner: int = 1024,
        outer: tuple[int, int] = (128, 32),
        scale: int = 4,
        dropout: float = 0.1,
        mixed: bool = True,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.scale, self.recompute = scale, recompute
        self.query = nn.Parameter(torch.randn(queries, width))
        self.learnable_query = nn.Parameter(torch.randn(queries, width))
        self.sound_layers = nn.ModuleList(SoundLayer(width, heads, sound_inner) for _ in range(sound_layers))
        self.pixels = PyramidMixer(widths, width, layers, heads, inner, dropout, recompute)
        self.layers = nn.ModuleList(QueryLayer(width, heads, inner, dropout) for _ in range(layers))
        self.mixer = ChannelMixer(width, heads) if mixed else None
        self.combine = nn.ModuleList(nn.Conv2d(*pair, 1) for pair in ((queries, inner), (inner, inner), (inner, width)))
        self.out = nn.ModuleList(
            [
                nn.Conv2d(width, outer[0], 3, padding=1),
                nn.Conv2d(outer[0], outer[1], 3, padding=1),
                nn.Conv2d(outer[1], outputs, 1, bias=False),
            ]
        )
        for part in (self.combine, self.out, self.pixels.in_proj):
            for layer in part.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.xavier_uniform_(layer.weight)

    def forward(self, maps: Sequence[Tensor], sound: Tensor) -> QueryMasks:
        """Maps (N, C, h, w), finest first, and sound (N, 1, D), to masks."""
        features, memory = self.pixels(maps)
        query = self.make_queries(sound) + self.learnable_query
        for layer in self.layers:
            query = layer(query, memory)
        if self.mixer is not None:
            features = self.mixer(features, sound)
        if self.recompute and self.training:
            logits: Tensor = checkpoint(self._draw, query, features, use_reentrant=False)
        else:
            logits = self._draw(query, features)
        return QueryMasks(logits, features, query, memory)

    def make_queries(self, sound: Tensor) -> Tensor:
        """Queries (N, Q, D) of sound (N, 1, D)."""
        query = self.query.repeat(len(sound), 1, 1)
        for layer in self.sound_layers:
            query = layer(query, sound)
        return query

    def _draw(self, query: Tensor, features: Tensor) -> Tensor:
        """Masks (N, K, H, W) of queries (N, Q, D) on features (N, D, h, w)."""
        enter, *layers = (cast(nn.Conv2d, m) for m in self.combine)
        # the first layer is of queries times pixels; queries go into its weights, which costs less
        x = features.flatten(2).transpose(1, 2) @ (enter.weight.flatten(1) @ query).transpose(1, 2)
        x = x.transpose(1, 2).unflatten(2, features.shape[2:]) + cast(Tensor, enter.bias).to(x.dtype)[:, None, None]
        for layer in layers:  # channels lie together here, which convolutions of one cell like best
            x = F.conv2d(x.relu_(), layer.weight.contiguous(memory_format=torch.channels_last), layer.bias)
        first, second, last = (cast(nn.Conv2d, m) for m in self.out)
        drawn: Tensor = last(convolve_enlarged(second, first(features + x), self.scale).relu_())
        return drawn
