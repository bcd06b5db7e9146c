# SPDX-License-Identifier: Apache-2.0
"""Convolutions and attention over time that know which steps are padding, the parts of ActionFormer's descendants.

Everything is time-first: features (B, T, D), `valid` bool (B, T).

Source:
    ttgeng233/UnAV at commit 1609deba4fba, `libs/modeling/blocks.py`; zzhhfut/CCNet-AAAI2025 at commit d148d074d647 has
    the same parts.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.nn.matmul_conv import Conv3


class MaskedConv(Conv3):
    """Convolution over three steps whose padded steps come out as 0.

    A norm that follows turns them into its own bias, which the next convolution reads at the last step: so the steps
    beside the padding depend on there being padding, officially too.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        start: Bias at the beginning; no bias where None.
    """

    def __init__(self, inputs: int, outputs: int, start: float | None = None) -> None:
        super().__init__(inputs, outputs, start is not None)
        if self.bias is not None and start is not None:
            nn.init.constant_(self.bias, start)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:  # type: ignore[override]
        """From (B, T, inputs) and bool (B, T) to (B, T, outputs)."""
        return super().forward(x) * valid[..., None]


class Stages(nn.Module):
    """Stages of masked convolution, norm over channels and ReLU.

    Args:
        inputs: Channels in.
        width: Channels out.
        depth: Stages.
    """

    def __init__(self, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(MaskedConv(width if i else inputs, width) for i in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """From (B, T, inputs) to (B, T, width); padded steps hold ReLU of the last norm's bias."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x, valid)).relu()
        return x


class DepthwiseConv(nn.Module):
    """Each channel convolved over three steps by itself.

    Args:
        width: Channels.
        stride: Every how manieth step is kept.
    """

    def __init__(self, width: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Conv1d(width, width, 3, groups=width, bias=False).weight

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """From (B, T, D) to (B, T / stride, D), times `keep` (B, T / stride), where that is not None."""
        image = x.transpose(1, 2)[:, :, None]  # channels last, which is the fast layout
        y = F.conv2d(image, self.weight[:, :, None], stride=(1, self.stride), padding=(0, 1), groups=x.shape[-1])
        y = y[:, :, 0].transpose(1, 2)
        return y if keep is None else y * keep[..., None]


class MaskedAttention(nn.Module):
    """Multi-head attention with a small convolution in front of queries, keys and values.

    With a stride all three are thinned out, and so is the result.

    Args:
        width: Width D.
        heads: Attention heads.
        stride: 1 or 2.
    """

    def __init__(self, width: int, heads: int, stride: int = 1) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}.")
        self.heads, self.stride = heads, stride
        for name in ("query", "key", "value"):
            setattr(self, f"{name}_conv", DepthwiseConv(width, stride))
            setattr(self, f"{name}_norm", nn.LayerNorm(width))
            setattr(self, name, linear(width, width))
        self.out = linear(width, width)

    def forward(self, context: Tensor, query: Tensor, keep: Tensor | None, blind: bool = False) -> Tensor:
        """Attend.

        Args:
            context: Who answers, (B, T, D).
            query: Who asks, (B, T, D).
            keep: Valid steps after the stride, bool (B, T / stride); None where all are.
            blind: Let padded steps answer too, as keys without value.

        Returns:
            (B, T / stride, D), 0 where padded.
        """
        q, k, v = (
            getattr(self, name)(getattr(self, f"{name}_norm")(getattr(self, f"{name}_conv")(x, keep)))
            for name, x in (("query", query), ("key", context), ("value", context))
        )
        if keep is not None:
            v = v * keep[..., None]
        q, k, v = (rearrange(x, "b t (h d) -> b h t d", h=self.heads) for x in (q, k, v))
        mask = None if keep is None or blind else keep[:, None, None]
        x = F.scaled_dot_product_attention(q, k, v, mask)
        if keep is not None and blind:
            x = x * keep[:, None, :, None]
        x = self.out(rearrange(x, "b h t d -> b t (h d)"))
        return x if keep is None else x * keep[..., None]


class GainedPath(nn.Module):
    """A residual branch with a learnt gain per channel, dropped as a whole for some samples in training.

    Args:
        width: Channels.
        drop: Share of samples that go without.
        start: Gain at the beginning.
    """

    def __init__(self, width: int, drop: float = 0.1, start: float = 1e-4) -> None:
        super().__init__()
        self.drop = drop
        self.scale = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor) -> Tensor:
        """From (B, T, D) to the same."""
        x = x * self.scale
        if not self.training or not self.drop:
            return x
        stay = 1 - self.drop
        return x * ((stay + torch.rand(len(x), 1, 1, dtype=x.dtype, device=x.device)).floor() / stay)


class PyramidBlock(nn.Module):
    """A transformer block whose residual is the context, not the query.

    Args:
        width: Width D.
        heads: Attention heads.
        stride: 1, or 2 to halve the steps; the residual is then the maximum over three.
        inner: Width of the feed-forward layers; 4 D where None.
        drop_path: See `GainedPath`.
    """

    def __init__(
        self, width: int, heads: int, stride: int = 1, inner: int | None = None, drop_path: float = 0.1
    ) -> None:
        super().__init__()
        inner = inner or 4 * width
        self.stride = stride
        self.context_norm, self.query_norm, self.inner_norm = (nn.LayerNorm(width) for _ in range(3))
        self.attention = MaskedAttention(width, heads, stride)
        self.feed = nn.Sequential(linear(width, inner), nn.GELU(), linear(inner, width))
        self.attention_path, self.feed_path = GainedPath(width, drop_path), GainedPath(width, drop_path)

    def forward(self, context: Tensor, query: Tensor, valid: Tensor | None, blind: bool = False) -> Tensor:
        """Attend and transform.

        Args:
            context: Keys, values and residual, (B, T, D).
            query: (B, T, D).
            valid: bool (B, T); None where all steps are.
            blind: See `MaskedAttention`.

        Returns:
            (B, T / stride, D), 0 where padded; its valid steps are `thin(valid, stride)`.
        """
        keep = None if valid is None else thin(valid, self.stride)
        x = self.attention_path(self.attention(self.context_norm(context), self.query_norm(query), keep, blind=blind))
        rest = context if self.stride == 1 else pool(context)
        x = x + (rest if keep is None else rest * keep[..., None])
        inner = self.feed(self.inner_norm(x))
        return x + self.feed_path(inner if keep is None else inner * keep[..., None])


def thin(valid: Tensor, stride: int) -> Tensor:
    """Every `stride`-th of the valid steps, (B, T) to (B, T / stride)."""
    return valid[:, ::stride] if stride > 1 else valid


def pool(x: Tensor) -> Tensor:
    """Maximum over three steps, every second one: (B, T, D) to (B, T / 2, D)."""
    return F.max_pool1d(x.transpose(1, 2), 3, 2, 1).transpose(1, 2)


def sinusoid(length: int, width: int) -> Tensor:
    """Sines and cosines of places over the square root of the width, (length, width)."""
    place, channel = torch.arange(length, dtype=torch.float64)[:, None], torch.arange(width)
    angle = place / 10000 ** (2 * (channel // 2).double() / width)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float() / width**0.5


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer whose bias starts at 0."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.bias)
    return layer
