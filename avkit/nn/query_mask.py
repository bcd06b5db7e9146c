# SPDX-License-Identifier: Apache-2.0
"""Masks by queries made of sound, over a pyramid mixed by deformable attention: AVSegFormer's head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from avkit.batch import exportable
from avkit.nn.deformable_attention import DeformableLayer, cell_centers, cell_codes
from avkit.nn.recompute import Recomputable
from avkit.nn.upsampled_conv import convolve_upsampled


@exportable
@dataclass
class QueryMasks:
    """Output of the mask decoder.

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
    """Self-attention of queries, then attention to the one token of the sound; post-norm.

    A softmax over one token is 1, so that this attention is the token's projection, added to every query.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, dropout, bias=False, batch_first=True)
        self.cross_attn = nn.MultiheadAttention(width, heads, dropout, bias=False, batch_first=True)
        self.ffn = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, query: Tensor, sound: Tensor) -> Tensor:
        """Queries (N, Q, D) and sound (N, 1, D) to queries."""
        query = self.norm1(query + self.self_attn(query, query, query, need_weights=False)[0])
        value = F.linear(sound, self.cross_attn.in_proj_weight[2 * sound.shape[-1] :])
        query = self.norm2(query + self.cross_attn.out_proj(value))
        return self.norm3(query + self.ffn(query))


class QueryLayer(nn.Module):
    """Self-attention of queries, then attention to all tokens of the levels; post-norm."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.cross_attn = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.linear1 = nn.Linear(width, inner)
        self.linear2 = nn.Linear(inner, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, query: Tensor, memory: Tensor) -> Tensor:
        """Queries (N, Q, D) and memory (N, S, D) to queries."""
        query = self.norm1(query + self.drop(self.self_attn(query, query, query, need_weights=False)[0]))
        query = self.norm2(query + self.drop(self.cross_attn(query, memory, memory, need_weights=False)[0]))
        return self.norm3(query + self.drop(self.linear2(self.drop(F.gelu(self.linear1(query))))))


class ChannelMixer(nn.Module):
    """Scales the channels of a map by the sound's attention to its pixels: `sigmoid(attention(sound, pixels))`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.kv_proj = nn.Linear(width, 2 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, maps: Tensor, sound: Tensor) -> Tensor:
        """Maps (N, D, h, w) and sound (N, 1, D) to maps."""
        q = self.q_proj(sound).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        pixels = self.kv_proj(maps.flatten(2).transpose(1, 2))
        k, v = pixels.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return maps * self.proj(attended).sigmoid().transpose(1, 2)[..., None]


class PyramidMixer(nn.Module, Recomputable):
    """Pixel decoder: mixes all levels but the finest by deformable attention, then adds them to the finest.

    Args:
        widths: Channels of the levels, finest first; two or more.
        width: Width D inside.
        layers: Deformable layers.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        dropout: Dropout rate in training.
        recompute: Recompute the activations inside of layers in the backward pass.

    Raises:
        ValueError: If there is only one level.
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
        self.in_proj = nn.ModuleList(nn.Sequential(nn.Conv2d(c, width, 1), _group_norm(width)) for c in widths)
        self.level_embed = nn.Parameter(torch.randn(len(widths) - 1, width))
        self.layers = nn.ModuleList()
        for _ in range(layers):
            self.layers.append(DeformableLayer(width, len(widths) - 1, heads, inner=inner, dropout=dropout))
        self.lateral_conv = nn.Sequential(nn.Conv2d(width, width, 1), _group_norm(width))
        self.out_conv = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), _group_norm(width), nn.ReLU(inplace=True))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Mix the levels.

        Args:
            maps: (N, C, h, w) each, finest first.

        Returns:
            The finest level with all of them in it, (N, D, h, w), and tokens of the others, (N, S, D).
        """
        fine, *coarse = (proj(x) for proj, x in zip(self.in_proj, maps, strict=True))
        sizes = [(x.shape[2], x.shape[3]) for x in coarse]
        x = torch.cat([level.flatten(2).transpose(1, 2) for level in coarse], 1)
        codes = cell_codes(sizes, x.shape[-1], x.device)
        code = torch.cat([c + e for c, e in zip(codes, self.level_embed, strict=True)])
        centers = cell_centers(sizes, x.device)
        for layer in self.layers:
            if self.recompute and self.training:
                x = checkpoint(layer, x, code, centers, sizes, use_reentrant=False)
            else:
                x = layer(x, code, centers, sizes)
        height, width = sizes[0]
        first = x[:, : height * width].transpose(1, 2).unflatten(-1, (height, width))
        first = F.interpolate(first, fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.out_conv(self.lateral_conv(fine) + first), x


def _group_norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(32 if width % 32 == 0 else 8, width)


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
        outer: Channels at the finest level's size and at the mask's, before the mask.
        scale: Cells of the masks per cell of the finest level, on a side; 4 for maps of stride 4 gives pixels.
        dropout: Dropout rate in training.
        mixed: Scale the mask features' channels by sound.
        recompute: Recompute activations in the backward pass: less memory, more time.

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
        self.scale = scale
        self.recompute = recompute
        self.query = nn.Parameter(torch.randn(queries, width))
        self.learnable_query = nn.Parameter(torch.randn(queries, width))
        self.sound_layers = nn.ModuleList(SoundLayer(width, heads, sound_inner) for _ in range(sound_layers))
        self.pixels = PyramidMixer(widths, width, layers, heads, inner, dropout, recompute)
        self.layers = nn.ModuleList(QueryLayer(width, heads, inner, dropout) for _ in range(layers))
        self.mixer = ChannelMixer(width, heads) if mixed else None
        self.combine = nn.ModuleList(
            [nn.Conv2d(queries, inner, 1), nn.Conv2d(inner, inner, 1), nn.Conv2d(inner, width, 1)]
        )
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
            logits: Tensor = checkpoint(self._draw_masks, query, features, use_reentrant=False)
        else:
            logits = self._draw_masks(query, features)
        return QueryMasks(logits, features, query, memory)

    def make_queries(self, sound: Tensor) -> Tensor:
        """Queries (N, Q, D) of sound (N, 1, D)."""
        query = self.query.repeat(len(sound), 1, 1)
        for layer in self.sound_layers:
            query = layer(query, sound)
        return query

    def _draw_masks(self, query: Tensor, features: Tensor) -> Tensor:
        """Masks (N, K, H, W) of queries (N, Q, D) on features (N, D, h, w)."""
        first, *others = (cast(nn.Conv2d, layer) for layer in self.combine)
        # the first layer reads products of queries and pixels; multiplying its weights with the queries costs less
        x = features.flatten(2).transpose(1, 2) @ (first.weight.flatten(1) @ query).transpose(1, 2)
        x = x.transpose(1, 2).unflatten(2, features.shape[2:]) + cast(Tensor, first.bias).to(x.dtype)[:, None, None]
        for layer in others:  # x has its channels last in memory, where 1 x 1 convolutions are fastest
            x = F.conv2d(x.relu_(), layer.weight.contiguous(memory_format=torch.channels_last), layer.bias)
        to_mid, to_outer, to_masks = (cast(nn.Conv2d, layer) for layer in self.out)
        masks: Tensor = to_masks(convolve_upsampled(to_outer, to_mid(features + x), self.scale).relu_())
        return masks
