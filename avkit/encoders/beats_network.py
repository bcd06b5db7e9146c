# SPDX-License-Identifier: Apache-2.0
"""The transformer of BEATs: patches of a spectrogram, places by a convolution, gated biases of distance.

Source:
    Chen et al., BEATs, ICML 2023; the gate is WavLM's (Chen et al., 2022, section 3.2), residuals are scaled as in
    DeepNet (Wang et al., 2022).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Numbers that the gates of a token are made of.
_GATES = 8


@dataclass(frozen=True)
class BEATsSizes:
    """Sizes of the network; the defaults are those of all published weights.

    Attributes:
        width: Width D of the tokens.
        layers: Number of layers.
        heads: Attention heads.
        hidden: Width of feed-forward layers.
        embedding: Width of a patch before it is projected.
        patch: Side of a patch in frames and bands.
        position_kernel: Tokens that the convolution of places spans.
        position_groups: Its groups.
        buckets: Number of biases of distance.
        farthest: Distance from which on all share a bias.
    """

    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    embedding: int = 512
    patch: int = 16
    position_kernel: int = 128
    position_groups: int = 16
    buckets: int = 320
    farthest: int = 800


#: Sizes of the published weights.
PUBLISHED = BEATsSizes()


class BEATsNetwork(nn.Module):
    """From filterbank to tokens; parameters are named as in the authors' files.

    Args:
        sizes: Its sizes.
    """

    def __init__(self, sizes: BEATsSizes = PUBLISHED) -> None:
        super().__init__()
        self.sizes = sizes
        self.patch_embedding = nn.Conv2d(1, sizes.embedding, sizes.patch, sizes.patch, bias=False)
        self.layer_norm = nn.LayerNorm(sizes.embedding)
        self.post_extract_proj: nn.Module = nn.Identity()
        if sizes.embedding != sizes.width:
            self.post_extract_proj = nn.Linear(sizes.embedding, sizes.width)
        self.encoder = _Encoder(sizes)

    def forward(self, mel: Tensor) -> Tensor:
        """Encode spectrograms (N, frames, bands) to tokens (N, L, D), the bands of a time one after the other."""
        patches = self.patch_embedding(mel[:, None]).flatten(2).transpose(1, 2)
        x: Tensor = self.encoder(self.post_extract_proj(self.layer_norm(patches)))
        return x


class _Encoder(nn.Module):
    """Places, then layers that share one table of distances."""

    def __init__(self, sizes: BEATsSizes) -> None:
        super().__init__()
        kernel = sizes.position_kernel
        self.sizes = sizes
        self.pos_conv = nn.Conv1d(sizes.width, sizes.width, kernel, padding=kernel // 2, groups=sizes.position_groups)
        self.layer_norm = nn.LayerNorm(sizes.width)
        self.distance_bias = nn.Parameter(torch.zeros(sizes.buckets, sizes.heads))
        self.layers = nn.ModuleList(_Layer(sizes) for _ in range(sizes.layers))

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        # an even kernel gives one token more than there are
        places = F.gelu(self.pos_conv(x.transpose(1, 2))[..., :length]).transpose(1, 2)
        x = self.layer_norm(x + places)
        buckets = distance_buckets(length, self.sizes.buckets, self.sizes.farthest).to(x.device)
        bias = self.distance_bias[buckets].permute(2, 0, 1)
        for layer in self.layers:
            x = layer(x, bias)
        return x


class _Layer(nn.Module):
    """Attention and feed-forward layer, each normalised after a residual that is scaled."""

    def __init__(self, sizes: BEATsSizes) -> None:
        super().__init__()
        self.self_attn = _Attention(sizes)
        self.self_attn_layer_norm = nn.LayerNorm(sizes.width)
        self.fc1 = nn.Linear(sizes.width, sizes.hidden)
        self.fc2 = nn.Linear(sizes.hidden, sizes.width)
        self.final_layer_norm = nn.LayerNorm(sizes.width)
        self.scale = (2 * sizes.layers) ** 0.25

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = self.self_attn_layer_norm(self.scale * x + self.self_attn(x, bias))
        normalised: Tensor = self.final_layer_norm(self.scale * x + self.fc2(F.gelu(self.fc1(x))))
        return normalised


class _Attention(nn.Module):
    """Attention of which each token scales the biases of distance by a gate of its own."""

    def __init__(self, sizes: BEATsSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.k_proj = nn.Linear(sizes.width, sizes.width)
        self.v_proj = nn.Linear(sizes.width, sizes.width)
        self.q_proj = nn.Linear(sizes.width, sizes.width)
        self.out_proj = nn.Linear(sizes.width, sizes.width)
        self.grep_linear = nn.Linear(sizes.width // sizes.heads, _GATES)
        self.grep_a = nn.Parameter(torch.ones(1, sizes.heads, 1, 1))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q = self._by_head(self.q_proj(x))
        k = self._by_head(self.k_proj(x))
        v = self._by_head(self.v_proj(x))
        gates = self.grep_linear(q).unflatten(-1, (2, _GATES // 2)).sum(-1).sigmoid()
        update, reset = gates.chunk(2, -1)
        gate = update * (reset * self.grep_a - 1) + 2
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=(gate * bias).to(q.dtype))
        attended: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return attended

    def _by_head(self, x: Tensor) -> Tensor:
        """(N, heads, L, width of a head)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def distance_buckets(length: int, buckets: int, farthest: int) -> Tensor:
    """Row of the table of distances for each pair of tokens, int64 (length, length), as T5 lays them out.

    Near distances have a row each, far ones share rows that grow as a logarithm; what comes after has rows of its own.
    """
    place = torch.arange(length)
    distance = place[None] - place[:, None]
    half = buckets // 2
    near = half // 2
    size = distance.abs()
    growth = torch.log(size.float() / near) / math.log(farthest / near) * (half - near)
    far = (near + growth.clamp(min=0).long()).clamp(max=half - 1)
    return torch.where(size < near, size, far) + half * (distance > 0)
