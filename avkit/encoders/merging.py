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
from avkit.nn.token_merging import choose_pairs, merge_pairs
from avkit.nn.token_merging import merge_tokens as merge_tokens


class MergingViT(TimmViT):
    """A timm vision transformer with token merging; `frame` is the class token, and `patches` are all tokens, it first.

    `sources` says which token each patch went into.

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
        numbers = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
        for block in network.blocks:
            attended, keys = _attend(block.attn, block.norm1(x), size)
            x = x + block.drop_path1(block.ls1(attended))
            pairs = choose_pairs(keys, min(self.rate, x.shape[1] - self.tokens))
            if pairs is not None:
                numbers = pairs.destinations(x.shape[1]).gather(1, numbers)
                x, size = merge_pairs(x, size, pairs)
            x = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
        x = network.norm(x)
        sources = numbers[:, network.num_prefix_tokens :].unflatten(1, network.patch_embed.grid_size)
        return VisualFeatures(x[:, 0], x, (1, x.shape[1]), sources=sources)


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
