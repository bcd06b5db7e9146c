# SPDX-License-Identifier: Apache-2.0
"""A vision transformer that merges similar tokens in every block, until few are left.

Source:
    Bolya et al., Token Merging: Your ViT But Faster, ICLR 2023, section 3 and appendix D; TSPM (paper), section 3.4,
    whose 577 tokens become 14. Written from the papers' equations.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.encoders.base import VisualFeatures
from avkit.encoders.timm import TimmViT


def merge_tokens(x: Tensor, size: Tensor, metric: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Merge `count` pairs of similar tokens.

    Each token at an even index, the class token first, is paired with the most similar token at an odd index, by cosine
    similarity. The `count` most similar pairs are merged into their mean, weighted by how many tokens each stands for.
    The class token is never merged.

    Args:
        x: Tokens (N, L, D).
        size: How many tokens each stands for, (N, L, 1).
        metric: Vectors by which tokens are compared, (N, L, C).
        count: Pairs to merge; at most half of the tokens besides the class token.

    Returns:
        Tokens (N, L - count, D), the remaining ones of even index first, and their sizes (N, L - count, 1).
    """
    count = min(count, (x.shape[1] - 1) // 2)
    if count <= 0:
        return x, size
    unit = F.normalize(metric, dim=-1)
    similarity = unit[:, ::2] @ unit[:, 1::2].transpose(1, 2)
    similarity[:, 0] = -torch.inf  # the class token stays
    best, partner = similarity.max(-1)
    order = torch.sort(best, dim=-1, descending=True, stable=True).indices[..., None]
    merged = order[:, :count]
    kept = order[:, count:].sort(1).values
    partner = partner[..., None].gather(1, merged)

    def add_pairs(values: Tensor) -> Tensor:
        even = values[:, ::2]
        odd = values[:, 1::2]
        width = values.shape[-1]
        moved = even.gather(1, merged.expand(-1, -1, width))
        sums = odd.scatter_add(1, partner.expand(-1, -1, width), moved)
        return torch.cat([even.gather(1, kept.expand(-1, -1, width)), sums], 1)

    total = add_pairs(size)
    return add_pairs(x * size) / total, total


class MergingViT(TimmViT):
    """A timm vision transformer with token merging; `frame` is the class token, and `patches` are all tokens, it first.

    Args:
        name: A timm vision transformer with a class token.
        pretrained: As in `TimmPyramid`.
        tokens: Tokens that are left at the end, the class token among them.
        rate: Pairs merged in each block, until `tokens` are left.

    Raises:
        ValueError: If there is no class token, or so few tokens cannot be reached.
    """

    def __init__(
        self,
        name: str = "vit_large_patch16_384",
        pretrained: str | Path | bool | None = None,
        tokens: int = 14,
        rate: int = 25,
    ) -> None:
        super().__init__(name, pretrained)
        if self.network.cls_token is None or tokens < 1 or rate < 1:
            raise ValueError(f"{name}, tokens={tokens}, rate={rate}: take a network with a class token, and 1 or more.")
        self.tokens = tokens
        self.rate = rate
        remaining = self.network.patch_embed.num_patches + self.network.num_prefix_tokens
        for _ in self.network.blocks:
            remaining -= max(0, min(rate, remaining - tokens, (remaining - 1) // 2))
        if remaining != tokens:
            raise ValueError(
                f"{name} cannot merge down to {tokens} tokens: {remaining} are left after {len(self.network.blocks)} "
                f"blocks that merge {rate} pairs at most. Ask for {remaining} or more, or raise the rate."
            )

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode images, uint8 or float in [0, 1], (N, 3, H, W) of any size."""
        network = self.network
        x = network.norm_pre(network._pos_embed(network.patch_embed(self.preprocess(frames))))
        size = x.new_ones(*x.shape[:2], 1)
        for block in network.blocks:
            attended, keys = _attend(block.attn, block.norm1(x), size)
            x = x + block.drop_path1(block.ls1(attended))
            x, size = merge_tokens(x, size, keys, min(self.rate, x.shape[1] - self.tokens))
            x = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
        x = network.norm(x)
        return VisualFeatures(x[:, 0], x, (1, x.shape[1]))


def _attend(attention: Any, x: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Self-attention weighted by the number of tokens that each stands for; and the mean of the keys over heads."""
    count, length, width = x.shape
    qkv = attention.qkv(x).reshape(count, length, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    q = attention.q_norm(q)
    k = attention.k_norm(k)
    bias = size.log().transpose(1, 2)[:, None].to(q.dtype)  # (N, 1, 1, L)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(-1, 1, length, -1))
    mixed = mixed.transpose(1, 2).reshape(count, length, width)
    return attention.proj_drop(attention.proj(attention.norm(mixed))), k.mean(1)
