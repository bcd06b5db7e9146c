# SPDX-License-Identifier: Apache-2.0
"""Merging of similar tokens, and where each token goes.

Source:
    Bolya et al., Token Merging: Your ViT But Faster, ICLR 2023, section 3 and appendix D. Written from its equations.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class Pairs:
    """Pairs of tokens to merge: some tokens at even indices, each with one at an odd index.

    Attributes:
        merged: Tokens at even indices that are merged, numbered among those, int64 (N, count, 1).
        kept: The other tokens at even indices, rising, (N, even - count, 1).
        partner: Token at an odd index that each of `merged` goes into, numbered among those, (N, count, 1).
    """

    merged: Tensor
    kept: Tensor
    partner: Tensor

    def add(self, values: Tensor) -> Tensor:
        """Values of all tokens (N, L, C) summed over pairs: (N, L - count, C), those of kept even indices first."""
        even = values[:, ::2]
        odd = values[:, 1::2]
        width = values.shape[-1]
        moved = even.gather(1, self.merged.expand(-1, -1, width))
        sums = odd.scatter_add(1, self.partner.expand(-1, -1, width), moved)
        return torch.cat([even.gather(1, self.kept.expand(-1, -1, width)), sums], 1)

    def destinations(self, length: int) -> Tensor:
        """Number of the token that each of the L tokens goes into, int64 (N, L)."""
        batch, kept, _ = self.kept.shape
        even = self.kept.new_empty(batch, (length + 1) // 2)
        even.scatter_(1, self.kept[..., 0], torch.arange(kept, device=even.device).expand(batch, -1))
        even.scatter_(1, self.merged[..., 0], kept + self.partner[..., 0])
        numbers = self.kept.new_empty(batch, length)
        numbers[:, ::2] = even
        numbers[:, 1::2] = kept + torch.arange(length // 2, device=even.device)
        return numbers


def choose_pairs(metric: Tensor, count: int) -> Pairs | None:
    """The `count` most similar pairs of tokens, or None if there are none to merge.

    Each token at an even index, the class token first, is paired with the most similar token at an odd index, by cosine
    similarity. The class token is never merged.

    Args:
        metric: Vectors by which tokens are compared, (N, L, C).
        count: Pairs; at most half of the tokens besides the class token.
    """
    count = min(count, (metric.shape[1] - 1) // 2)
    if count <= 0:
        return None
    unit = F.normalize(metric, dim=-1)
    similarity = unit[:, ::2] @ unit[:, 1::2].transpose(1, 2)
    similarity[:, 0] = -torch.inf  # the class token stays
    best, partner = similarity.max(-1)
    order = torch.sort(best, dim=-1, descending=True, stable=True).indices[..., None]
    merged = order[:, :count]
    kept = order[:, count:].sort(1).values
    return Pairs(merged, kept, partner[..., None].gather(1, merged))


def merge_tokens(x: Tensor, size: Tensor, metric: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Merge `count` pairs of similar tokens, see `choose_pairs`, into means weighted by their sizes.

    Args:
        x: Tokens (N, L, D).
        size: How many tokens each stands for, (N, L, 1).
        metric: Vectors by which tokens are compared, (N, L, C).
        count: Pairs to merge.

    Returns:
        Tokens (N, L - count, D), the remaining ones of even index first, and their sizes (N, L - count, 1).
    """
    pairs = choose_pairs(metric, count)
    if pairs is None:
        return x, size
    return merge_pairs(x, size, pairs)


def merge_pairs(x: Tensor, size: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Merge chosen pairs: tokens (N, L - count, D) and their sizes (N, L - count, 1), as `merge_tokens`."""
    total = pairs.add(size)
    return pairs.add(x * size) / total, total
